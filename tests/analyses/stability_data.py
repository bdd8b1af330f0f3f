"""Synthetic networks for the analysis of stability: matrices whose eigenvalues numpy computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from lesioned import CLASSES, _coordinates
from resprobe_analyses.stability.differences import differences
from resprobe_analyses.stability.findings import verdict
from resprobe_analyses.stability.labelled import dataset
from resprobe_analyses.stability.networks import read_groups
from resprobe_analyses.stability.sentences import summary
from resprobe_analyses.stability.stages import compare

from resprobe.result import Input, Result

K, EXPONENTS = 6, 4
PARTS = ("branch", "block")
RESIDUAL = 1e-7
CELL = ("sample", "block", "part")
SCALARS = ("frobenius_norm", "spectral_norm", "log_norm", "spectral_abscissa", "spectral_radius")


Matrices = list[list[np.ndarray]]
Coordinates = dict[str, tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Made:
    """An input and the matrices behind it: image by block, branch Jacobians."""

    input: Input
    branches: Matrices


def build(
    label: str = "net",
    *,
    group: str = "g",
    seed: int | None = 0,
    stages: Sequence[int] = (3, 3, 3),
    images: int = 16,
    size: int = 12,
    gain: float = 0.6,
    shift: float = 0.0,
    plain: bool = False,
    branches: Sequence[np.ndarray] | None = None,
    spectrum: bool = True,
    lyapunov: bool = True,
    training: Sequence[int] = (),
    first_sample: int = 0,
    step: int | None = None,
    condition: bool = True,
) -> Made:
    """A network whose branch Jacobians are gain·(random of radius about 1) + shift·identity.

    Images have a common matrix in each block and their own of a fifth of its size. `branches`
    gives the matrix of each block instead, on every image. Transitions have half as many outputs
    as inputs.
    """
    generator = np.random.default_rng([31, 0 if seed is None else seed, len(label)])
    coordinates = _coordinates(stages, plain)
    transition = coordinates["transition"][1].astype(bool)
    made = _matrices(generator, transition, images, size, gain=gain, shift=shift)
    if branches is not None:
        made = [[np.asarray(one, dtype=np.float64) for one in branches] for _ in range(images)]
    sample = first_sample + 3 * np.arange(images, dtype=np.int64)
    coordinates |= {
        "part": ("part", np.array(PARTS)),
        "sample": ("sample", sample),
        "label": ("sample", sample % CLASSES),
    }
    families = {"jacobian": _jacobian(made, plain, coordinates)}
    if spectrum:
        families["spectrum"] = _spectrum(made, plain, coordinates, condition)
    if lyapunov:
        families["lyapunov"] = _lyapunov(made, plain, transition, coordinates)
    folder = "" if step is None else f"/step-{step:08d}"
    groups = {f"{folder}/{name}": data for name, data in families.items()}
    if training:
        groups["/training/jacobian"] = _training(families, training)
    tree = xr.DataTree.from_dict(groups)
    given = Input(label, tree, {"jacobian": families["jacobian"]}, step, group, seed)
    return Made(given, made)


def changed(made: Made, family: str, data: xr.Dataset | None) -> Input:
    """Give the input with another family in place of one, or without it."""
    given = made.input
    folder = "" if given.step is None else f"/step-{given.step:08d}"
    groups = {node.path: node.to_dataset() for node in given.tree.leaves}
    path = f"/{family}" if family.startswith("training") else f"{folder}/{family}"
    groups.pop(path, None)
    if data is not None:
        groups[path] = data
    families = dict(given.families)
    if family == "jacobian":
        families = {} if data is None else {"jacobian": data}
    return replace(given, tree=xr.DataTree.from_dict(groups), families=families)


def leaf(made: Made, family: str) -> xr.Dataset:
    """Give a copy of a family of an input."""
    given = made.input
    folder = (
        "" if given.step is None or family.startswith("training") else f"step-{given.step:08d}/"
    )
    return given.tree[f"{folder}{family}"].to_dataset().copy(deep=True)


def without_figures(inputs: Sequence[Input]) -> Result:
    """Analyze and draw nothing, which takes most of the time."""
    groups = read_groups(inputs)
    contrasts, by_block = compare(groups), differences(groups)
    return Result(
        dataset=dataset(groups, contrasts, by_block),
        figures={},
        verdict=verdict(groups, contrasts, by_block),
        summary=summary(groups, contrasts, by_block),
    )


def with_skip(matrix: np.ndarray, plain: bool) -> np.ndarray:
    """Give the Jacobian of x + G, or of G in a plain network."""
    return matrix if plain else matrix + np.eye(*matrix.shape)


def log_norm(matrix: np.ndarray) -> float:
    """Give the largest eigenvalue of the symmetric part, NaN where it is not square."""
    if matrix.shape[0] != matrix.shape[1]:
        return float("nan")
    return float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1])


def _matrices(
    generator: np.random.Generator,
    transition: np.ndarray,
    images: int,
    size: int,
    *,
    gain: float,
    shift: float,
) -> Matrices:
    common = generator.standard_normal((transition.size, size, size)) / np.sqrt(size)
    rows = []
    for _ in range(images):
        own = generator.standard_normal((transition.size, size, size)) / np.sqrt(size)
        row = gain * (0.98 * common + 0.2 * own) + shift * np.eye(size)
        rows.append(
            [one[: size // 2] if odd else one for one, odd in zip(row, transition, strict=True)]
        )
    return rows


def _each(made: Matrices, plain: bool, number: Callable[[np.ndarray], Any]) -> np.ndarray:
    """A number of every Jacobian, (sample, block, part)."""
    return np.array(
        [[[number(one), number(with_skip(one, plain))] for one in row] for row in made],
        dtype=np.float64,
    )


def _jacobian(made: Matrices, plain: bool, coordinates: Coordinates) -> xr.Dataset:
    frobenius = _each(made, plain, np.linalg.norm)
    spectral = _each(made, plain, lambda one: np.linalg.norm(one, 2))
    logarithmic = _each(made, plain, log_norm)
    tiny, yes = np.full(frobenius.shape, RESIDUAL), np.ones(frobenius.shape, np.int8)
    found = {
        "frobenius_norm": frobenius,
        "frobenius_norm_stderr": np.zeros(frobenius.shape),
        "spectral_norm": spectral,
        "spectral_norm_residual": tiny,
        "spectral_norm_converged": yes,
        "log_norm": logarithmic,
        "log_norm_residual": np.where(np.isfinite(logarithmic), RESIDUAL, np.nan),
        "log_norm_converged": np.where(np.isfinite(logarithmic), yes, 0).astype(np.int8),
        "relative_error": np.full(frobenius.shape, 4e-7),
    }
    variables = {f"jacobian_{name}": (CELL, value) for name, value in found.items()}
    return xr.Dataset(variables, coords=coordinates)


def _eigen(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and their condition numbers 1/|wᴴv|; the left vectors are rows of V⁻¹."""
    values, right = np.linalg.eig(matrix)
    left = np.linalg.inv(right)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=0)
    return values, norms


def _spectrum(made: Matrices, plain: bool, coordinates: Coordinates, condition: bool) -> xr.Dataset:
    shape = (len(made), len(made[0]), 2)
    eigenvalues = np.full((*shape, 2 * K), complex(np.nan, np.nan))
    conditions = np.full(eigenvalues.shape, np.nan)
    abscissa, radius = np.full(shape, np.nan), np.full(shape, np.nan)
    for image, row in enumerate(made):
        for block, one in enumerate(row):
            if one.shape[0] != one.shape[1]:
                continue
            for part in (0, 1):
                values, kappa = _eigen(with_skip(one, plain) if part else one)
                orders = (np.argsort(-np.abs(values)), np.argsort(-values.real))
                for begin, order in zip((0, K), orders, strict=True):
                    chosen = order[:K]
                    place = (image, block, part, slice(begin, begin + chosen.size))
                    eigenvalues[place], conditions[place] = values[chosen], kappa[chosen]
                abscissa[image, block, part] = values.real.max()
                radius[image, block, part] = np.abs(values).max()
    known = np.isfinite(eigenvalues.real)
    value = (*CELL, "eigenvalue")
    coordinates = coordinates | {
        "which": ("eigenvalue", np.repeat(["largest_magnitude", "rightmost"], K))
    }
    return xr.Dataset(
        {
            "jacobian_eigenvalues": (value, eigenvalues),
            "jacobian_eigenvalue_residual": (value, np.where(known, RESIDUAL, np.nan)),
            "jacobian_eigenvalue_condition": (
                value,
                conditions if condition else np.full_like(conditions, np.nan),
            ),
            "jacobian_eigenvalue_converged": (value, known.astype(np.int8)),
            "jacobian_spectral_abscissa": (CELL, abscissa),
            "jacobian_spectral_abscissa_converged": (CELL, np.isfinite(abscissa).astype(np.int8)),
            "jacobian_spectral_radius": (CELL, radius),
            "jacobian_spectral_radius_converged": (CELL, np.isfinite(radius).astype(np.int8)),
        },
        coords=coordinates,
    )


def _lyapunov(
    made: Matrices, plain: bool, transition: np.ndarray, coordinates: Coordinates
) -> xr.Dataset:
    stage, blocks = coordinates["stage"][1], transition.size
    exponents = np.full((len(made), blocks, EXPONENTS), np.nan)
    growth = np.full((len(made), blocks), np.nan)
    for image, row in enumerate(made):
        product, count = None, 0
        for block, one in enumerate(row):
            if transition[block]:
                product, count = None, 0
                continue
            if product is None or stage[block] != stage[block - 1]:
                product, count = np.eye(one.shape[0]), 0
            product, count = with_skip(one, plain) @ product, count + 1
            singular = np.linalg.svd(product, compute_uv=False)[:EXPONENTS]
            with np.errstate(divide="ignore"):  # a singular product has exponents of −∞
                exponents[image, block, : singular.size] = np.log(singular) / count
                along = np.linalg.norm(product, "fro") / np.sqrt(product.shape[0])
                growth[image, block] = np.log(along) / count
    found = {
        "lyapunov_exponents": (("sample", "block", "exponent"), exponents),
        "lyapunov_exponents_error": (("sample", "block", "exponent"), 1e-8 * np.abs(exponents)),
        "perturbation_growth": (("sample", "block"), growth),
    }
    kept = {name: one for name, one in coordinates.items() if name != "part"}
    return xr.Dataset(found, coords=kept)


def _training(families: dict[str, xr.Dataset], steps: Sequence[int]) -> xr.Dataset:
    """Quantities that grow in proportion from a half at the first step to the final values."""
    final = xr.merge(list(families.values()), compat="override", join="override")
    final = final.isel(sample=slice(4))
    grown = np.linspace(0.5, 1.0, len(steps))
    names = [f"jacobian_{name}" for name in SCALARS]
    there = {
        name: (("step", *CELL), grown[:, None, None, None] * final[name].values[None])
        for name in names
        if name in final
    }
    coords = {name: final[name] for name in final.coords if name not in ("which", "exponent")}
    return xr.Dataset(there, coords=coords | {"step": ("step", np.array(steps, np.int64))})
