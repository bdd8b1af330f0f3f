"""Read `jacobian`, and `spectrum` and `lyapunov` where they are, into plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from resprobe.errors import InputError
from resprobe_analyses.reading import (
    Flags,
    Integers,
    check_classes,
    check_seeds,
    check_variables,
    collected_beside,
    group_label,
    layout_of,
    shared_samples,
    unique,
    values,
)
from resprobe_analyses.stability.families import (
    CELL,
    JACOBIAN,
    LYAPUNOV,
    NEEDED,
    PARTS,
    SPECTRUM,
    VALUE,
)
from resprobe_analyses.stability.records import Exponents, Group, Network, Norms, Spectrum
from resprobe_analyses.stability.training import read_training

if TYPE_CHECKING:
    import xarray as xr

    from resprobe.result import Input

Floats = npt.NDArray[np.float64]


def read_groups(inputs: Sequence[Input]) -> tuple[Group, ...]:
    """Read all inputs on the images they share, grouped by recipe in order of appearance.

    Raises:
        InputError: no inputs, a family, variable or coordinate missing, no images in common,
            labels that differ on the same image, seeds of one group with different blocks, or one
            seed of a group given twice.
    """
    if not inputs:
        raise InputError("the analysis stability needs at least one input; none was given.")
    families = [_families(given) for given in inputs]
    images = {name: _shared(inputs, families, needs) for name, needs in _TOGETHER.items()}
    labels = unique([given.label for given in inputs])
    networks = [
        _read(given, label, found, images)
        for given, label, found in zip(inputs, labels, families, strict=True)
    ]
    check_classes(networks)
    keys = list(dict.fromkeys(given.group for given in inputs))
    members = [
        [net for net, given in zip(networks, inputs, strict=True) if given.group == key]
        for key in keys
    ]
    for group in members:
        check_seeds(group)
        _check_blocks(group)
    names = unique([group_label([net.label for net in group]) for group in members])
    return tuple(Group(name, tuple(group)) for name, group in zip(names, members, strict=True))


# An eigenvalue's disc needs the norm of the same Jacobian, so both are read on common images.
_TOGETHER = {JACOBIAN: (JACOBIAN,), SPECTRUM: (JACOBIAN, SPECTRUM), LYAPUNOV: (LYAPUNOV,)}

Families = dict[str, "xr.Dataset"]


def _families(given: Input) -> Families:
    """Give the families that an input has, each with all that is read of it.

    Raises:
        InputError: `jacobian` is missing, or something within a family.
    """
    check_variables(given, {JACOBIAN: NEEDED[JACOBIAN]}, "stability")
    found = {JACOBIAN: given.families[JACOBIAN]}
    for name in (SPECTRUM, LYAPUNOV):
        data = collected_beside(given, name)
        if data is None:
            continue
        check_variables(replace(given, families={name: data}), {name: NEEDED[name]}, "stability")
        if [str(block) for block in data["block"].values] != [
            str(block) for block in found[JACOBIAN]["block"].values
        ]:
            raise InputError(
                f"{given.label}: the families {JACOBIAN} and {name} have different blocks; collect "
                "both from the same checkpoint."
            )
        found[name] = data
    for name in (JACOBIAN, SPECTRUM):
        if name in found:
            _check_parts(given, name, found[name])
    if SPECTRUM in found and "which" not in found[SPECTRUM].coords:
        raise InputError(
            f"{given.label}: the family {SPECTRUM!r} has no coordinate 'which'; collect it again."
        )
    return found


def _check_parts(given: Input, name: str, data: xr.Dataset) -> None:
    if "part" not in data.coords or set(PARTS) - {str(part) for part in data["part"].values}:
        raise InputError(
            f"{given.label}: the family {name!r} does not tell the parts {' and '.join(PARTS)} "
            "apart; collect it again."
        )


def _shared(
    inputs: Sequence[Input], families: Sequence[Families], needs: tuple[str, ...]
) -> Integers | None:
    """Give the samples that all inputs with these families share, None where no input has them."""
    having = [
        (given, found)
        for given, found in zip(inputs, families, strict=True)
        if all(name in found for name in needs)
    ]
    if not having:
        return None
    return shared_samples(
        [found[name] for _, found in having for name in needs],
        f"the families {' and '.join(needs)} of {', '.join(given.label for given, _ in having)}",
    )


def _read(
    given: Input, label: str, families: Families, images: dict[str, Integers | None]
) -> Network:
    data = families[JACOBIAN].sel(sample=images[JACOBIAN], part=list(PARTS))
    names = tuple(str(name) for name in data["block"].values)
    return Network(
        label=label,
        seed=given.seed,
        step=given.step,
        names=names,
        skips=tuple(str(skip) for skip in data["skip"].values),
        layout=layout_of(data),
        classes=data["label"].values.astype(np.int64),
        norms=_norms(data),
        spectrum=_spectrum(families, images[SPECTRUM]) if SPECTRUM in families else None,
        lyapunov=_exponents(families[LYAPUNOV].sel(sample=images[LYAPUNOV]))
        if LYAPUNOV in families
        else None,
        training=read_training(given, names),
        images_left_out=families[JACOBIAN].sizes["sample"] - data.sizes["sample"],
    )


def _norms(data: xr.Dataset) -> Norms:
    return Norms(
        frobenius_norm=_numbers(data, "jacobian_frobenius_norm", CELL),
        frobenius_norm_stderr=_numbers(data, "jacobian_frobenius_norm_stderr", CELL),
        spectral_norm=_numbers(data, "jacobian_spectral_norm", CELL),
        spectral_norm_residual=_numbers(data, "jacobian_spectral_norm_residual", CELL),
        spectral_norm_converged=_flags(data, "jacobian_spectral_norm_converged", CELL),
        log_norm=_numbers(data, "jacobian_log_norm", CELL),
        log_norm_residual=_numbers(data, "jacobian_log_norm_residual", CELL),
        log_norm_converged=_flags(data, "jacobian_log_norm_converged", CELL),
        relative_error=_numbers(data, "jacobian_relative_error", CELL),
    )


def _spectrum(families: Families, images: Integers | None) -> Spectrum:
    data = families[SPECTRUM].sel(sample=images, part=list(PARTS))
    norms = families[JACOBIAN].sel(sample=images, part=list(PARTS))
    largest = _numbers(norms, "jacobian_spectral_norm", CELL)
    frobenius = _numbers(norms, "jacobian_frobenius_norm", CELL)
    return Spectrum(
        which=tuple(str(which) for which in data["which"].values),
        eigenvalues=values(data, "jacobian_eigenvalues", *VALUE).astype(np.complex128),
        residual=_numbers(data, "jacobian_eigenvalue_residual", VALUE),
        condition=_numbers(data, "jacobian_eigenvalue_condition", VALUE),
        converged=_flags(data, "jacobian_eigenvalue_converged", VALUE),
        # the Frobenius norm bounds it from above
        norm=np.where(np.isfinite(largest), largest, frobenius),
        spectral_abscissa=_numbers(data, "jacobian_spectral_abscissa", CELL),
        spectral_abscissa_converged=_flags(data, "jacobian_spectral_abscissa_converged", CELL),
        spectral_radius=_numbers(data, "jacobian_spectral_radius", CELL),
        spectral_radius_converged=_flags(data, "jacobian_spectral_radius_converged", CELL),
    )


def _exponents(data: xr.Dataset) -> Exponents:
    dims = ("sample", "block", "exponent")
    return Exponents(
        exponents=_numbers(data, "lyapunov_exponents", dims),
        errors=_numbers(data, "lyapunov_exponents_error", dims),
        growth=_numbers(data, "perturbation_growth", ("sample", "block")),
    )


def _numbers(data: xr.Dataset, name: str, dims: tuple[str, ...]) -> Floats:
    return values(data, name, *dims).astype(np.float64)


def _flags(data: xr.Dataset, name: str, dims: tuple[str, ...]) -> Flags:
    return np.asarray(values(data, name, *dims) == 1)


def _check_blocks(networks: Sequence[Network]) -> None:
    first = networks[0]
    for other in networks[1:]:
        if not first.layout.same_as(other.layout) or first.names != other.names:
            raise InputError(
                f"{first.label} and {other.label} have one recipe but different blocks; collect "
                "both again with one version of resprobe."
            )
