"""A matrix in any of its usual forms as a linear map of one sample."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
import torch

from resprobe.errors import InputError
from resprobe.linalg import cost
from resprobe.linalg.explicit import matrices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resprobe.linalg.linear_map import LinearMap


class MatrixMap:
    """A linear map of one sample and flat vectors.

    Args:
        shape: outputs, inputs.
        matvec: `(probe, inputs)` to `(probe, outputs)`.
        rmatvec: the transpose.
        dtype: of the vectors.
        device: of the vectors.
        rounding: ε of the numbers that the matrix was given in, where it is not that of `dtype`.
        explicit: gives the matrix, if there is a shorter way than all columns.
        seconds: that one product takes, roughly, and each further one at once with it.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        matvec: Callable[[torch.Tensor], torch.Tensor],
        rmatvec: Callable[[torch.Tensor], torch.Tensor],
        *,
        dtype: torch.dtype,
        device: torch.device,
        rounding: float | None = None,
        explicit: Callable[[], NDArray[Any]] | None = None,
        seconds: tuple[float, float],
    ) -> None:
        self.output_shape: tuple[int, ...] = tuple(shape[:1])
        self.input_shape: tuple[int, ...] = tuple(shape[1:])
        self.samples, self.dtype, self.device = 1, dtype, device
        self.rounding = torch.finfo(dtype).eps if rounding is None else rounding
        self._matvec, self._rmatvec, self._explicit = matvec, rmatvec, explicit
        self._seconds = seconds

    @classmethod
    def of(cls, matrix: Any) -> MatrixMap:
        """Give the map of a Jacobian, a linear map of one sample, or a matrix.

        Raises:
            InputError: it is none of these, or has no two dimensions, or is complex.
        """
        if isinstance(matrix, np.ndarray | torch.Tensor) or scipy.sparse.issparse(matrix):
            return cls._of_matrix(matrix)
        if hasattr(matrix, "input_shape"):
            return cls._of_map(matrix)
        if hasattr(matrix, "matvec") and hasattr(matrix, "to_dense"):
            return cls._of_jacobian(matrix)
        raise InputError(
            f"a {type(matrix).__name__} is no matrix: expected a Jacobian, a linear map of one "
            "sample, a tensor, an array or one of SciPy's sparse matrices"
        )

    def matvec(self, v: torch.Tensor) -> torch.Tensor:
        """Give A v: `(probe, 1, inputs)` to `(probe, 1, outputs)`."""
        return self._matvec(v[:, 0])[:, None]

    def rmatvec(self, u: torch.Tensor) -> torch.Tensor:
        """Give Aᵀ u: `(probe, 1, outputs)` to `(probe, 1, inputs)`."""
        return self._rmatvec(u[:, 0])[:, None]

    def sample(self, index: int) -> MatrixMap:
        """Give the map itself, the only one."""
        return self

    def seconds(self, products: int) -> float:
        """Give the seconds that products take, roughly, where each waits for the one before."""
        return products * self._seconds[0]

    def seconds_for_matrix(self) -> float:
        """Give the seconds that the explicit matrix takes, roughly; 0 where it is at hand."""
        if self._explicit is not None:
            return 0.0
        return self._seconds[0] + self.input_shape[0] * self._seconds[1]

    def matrix(self) -> NDArray[Any]:
        """Give the matrix, `(outputs, inputs)`."""
        return matrices(self)[0].cpu().numpy() if self._explicit is None else self._explicit()

    @classmethod
    def _of_matrix(cls, matrix: Any) -> MatrixMap:
        if matrix.ndim != 2:
            raise InputError(f"an array of shape {tuple(matrix.shape)} is no matrix: expected two")
        # On the host whatever the device was: SciPy works there.
        host = matrix.detach().cpu().numpy() if isinstance(matrix, torch.Tensor) else matrix
        if np.iscomplexobj(host):
            raise InputError("a complex matrix is no Jacobian of real tensors: expected a real one")
        is_float = np.issubdtype(host.dtype, np.floating)
        wide: Any = host.astype(np.float64)

        def times(factor: Any) -> Callable[[torch.Tensor], torch.Tensor]:
            return lambda v: torch.from_numpy(np.ascontiguousarray((factor @ v.cpu().numpy().T).T))

        def explicit() -> NDArray[Any]:
            return np.asarray(wide.toarray() if scipy.sparse.issparse(wide) else wide)

        return cls(
            wide.shape,
            times(wide),
            times(wide.T),
            dtype=torch.float64,
            device=torch.device("cpu"),
            rounding=float(np.finfo(host.dtype if is_float else np.float64).eps),
            explicit=explicit,
            seconds=cost.of_matrix(wide.nnz if scipy.sparse.issparse(wide) else wide.size),
        )

    @classmethod
    def _of_map(cls, linear_map: LinearMap) -> MatrixMap:
        if linear_map.samples != 1:
            raise InputError(
                f"a map of {linear_map.samples} samples has as many spectra: expected one sample; "
                "take one by .sample(index)"
            )
        shapes = linear_map.output_shape, linear_map.input_shape

        def flat(
            multiply: Callable[[torch.Tensor], torch.Tensor], shape: tuple[int, ...]
        ) -> Callable[[torch.Tensor], torch.Tensor]:
            return lambda v: multiply(v.reshape(-1, 1, *shape)).flatten(1)

        return cls(
            (prod(shapes[0]), prod(shapes[1])),
            flat(linear_map.matvec, shapes[1]),
            flat(linear_map.rmatvec, shapes[0]),
            dtype=linear_map.dtype,
            device=linear_map.device,
            seconds=cost.of_map(linear_map),
        )

    @classmethod
    def _of_jacobian(cls, jacobian: Any) -> MatrixMap:
        def explicit() -> NDArray[Any]:
            return np.asarray(jacobian.to_dense().cpu().numpy())

        # Steps of convolutions are multiplied faster than the entries that they make up.
        faster = getattr(jacobian, "linear_map", None)
        if faster is not None:
            fast = cls._of_map(faster)
            fast._explicit = explicit
            return fast
        return cls(
            tuple(jacobian.shape),
            jacobian.matvec,
            jacobian.rmatvec,
            dtype=jacobian.dtype,
            device=jacobian.device,
            explicit=explicit,
            seconds=cost.of_matrix(prod(jacobian.shape)),
        )
