"""Measure a checkpoint: one pass over the samples per family, each into a file of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.data import stratified
from resprobe.errors import InputError, UnknownNameError
from resprobe.quantities.family import OfTrials, WithSettings
from resprobe.quantities.quantity import DEFAULT_SAMPLES, all_quantities
from resprobe.quantities.sweep import SweepFamily
from resprobe.quantities.trials import Trials
from resprobe.session import Progress, Session
from resprobe.session_estimate import Estimate, estimate_family
from resprobe.session_measurement import owner_of
from resprobe.store.lock import LOCK, file_lock
from resprobe.store.reader import read_attributes, read_file
from resprobe.store.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resprobe.source import Source

PRESETS = ("economy", "standard", "full")
_COSTS = {
    "economy": ("hook",),
    "standard": ("hook", "lesion", "jacobian"),
    "full": ("weights", "hook", "lesion", "noise", "jvp", "jacobian"),
}


@dataclass(frozen=True)
class Samples:
    """Which samples are measured.

    Attributes:
        count: how many; None takes the default of each family's cost class.
        seed: of the stratified draw.
        indices: these samples instead of a draw.
    """

    count: int | None = None
    seed: int = 0
    indices: tuple[int, ...] | None = None

    def draw(
        self, labels: NDArray[np.int64], cost: str, *, named: bool = True
    ) -> NDArray[np.int64]:
        """Give the indices to measure, ascending, `(sample,)` int64; none for the class `weights`.

        Args:
            labels: of the data set.
            cost: class of the family.
            named: whether a quantity of the family was asked for by name. One that comes with a
                preset never takes more samples than its cost class is meant for: Jacobians of a
                thousand images take hours.

        Raises:
            InputError: a count or an index that the data set does not have.
        """
        if DEFAULT_SAMPLES[cost] == 0:
            return np.empty(0, np.int64)
        if self.indices is not None:
            wrong = [index for index in self.indices if not 0 <= index < len(labels)]
            if wrong or not self.indices:
                raise InputError(
                    f"--sample-indices names {wrong[0] if wrong else 'no sample'}; the data set "
                    f"has samples 0 to {len(labels) - 1}."
                )
            return np.unique(np.asarray(self.indices, np.int64))
        count = self.count if self.count is not None else DEFAULT_SAMPLES[cost]
        if self.seed < 0:
            raise InputError(f"--sample-seed {self.seed}: give 0 or a larger whole number.")
        if count is None:
            return np.arange(len(labels))
        usual = DEFAULT_SAMPLES[cost]
        if not named and usual is not None:
            count = min(count, usual)
        if self.count is None:
            count = min(count, len(labels))
        return stratified(labels, count, self.seed)

    def draws(
        self, labels: NDArray[np.int64], families: Mapping[str, str], optional: Collection[str]
    ) -> dict[str, NDArray[np.int64]]:
        """Give the indices of every family, see `draw`.

        Args:
            labels: of the data set.
            families: with their cost class.
            optional: those that nobody named.
        """
        return {
            family: self.draw(labels, cost, named=family not in optional)
            for family, cost in families.items()
        }


@dataclass(frozen=True)
class Collected:
    """One family of a collection.

    Attributes:
        family: its name.
        path: its file.
        samples: how many were measured.
        kept: whether it was there already, of equal settings or left alone.
        seconds: what measuring took; 0 if kept.
        left_out: why it was not measured, "" if it was.
    """

    family: str
    path: Path
    samples: int
    kept: bool
    seconds: float
    left_out: str = ""


def chosen_families(preset: str, quantities: Sequence[str]) -> dict[str, str]:
    """Give the families to collect with their cost class.

    Args:
        preset: one of `PRESETS`.
        quantities: `NAME` replaces the preset, `+NAME` adds to it.

    Raises:
        UnknownNameError: of a preset or a quantity; near names are listed.
        InputError: a quantity that is recorded while training, not collected.
    """
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    known = all_quantities()
    collected = {name: q for name, q in known.items() if q.measured_by}
    families: dict[str, str] = {}
    replaced = any(not name.startswith("+") for name in quantities)
    if not replaced:
        for quantity in sorted(collected.values(), key=_order):
            if quantity.cost in _COSTS[preset] and (quantity.standard or preset == "full"):
                families[quantity.family] = quantity.cost
    for name in (text.removeprefix("+") for text in quantities):
        if name not in known:
            raise UnknownNameError("quantity", name, collected)
        if name not in collected:
            raise InputError(
                f"{name} is recorded while training and can't be collected from a checkpoint; "
                f"open the run's /training/{known[name].family}."
            )
        families[known[name].family] = known[name].cost
    return families


def left_alone(families: Collection[str], quantities: Sequence[str]) -> frozenset[str]:
    """Give the families that are not measured anew where `+NAME` asks for another one."""
    if not any(name.startswith("+") for name in quantities):
        return frozenset()
    known = all_quantities()
    asked = {known[name.removeprefix("+")].family for name in quantities}
    return frozenset(families) - asked


def by_preset(families: Collection[str], quantities: Sequence[str]) -> frozenset[str]:
    """Give the families that no quantity names: they are left out where they can't be measured."""
    known = all_quantities()
    return frozenset(families) - {known[name.removeprefix("+")].family for name in quantities}


def collect(
    source: Source,
    folder: Path,
    families: Mapping[str, str],
    *,
    samples: Samples | None = None,
    trials: Trials | None = None,
    optional: Collection[str] = (),
    overwrite: bool = False,
    leave: Collection[str] = (),
    progress: Progress | None = None,
    begin: Callable[[], None] | None = None,
    lone: Path | None = None,
    session: Session | None = None,
) -> list[Collected]:
    """Measure families and write each as `FAMILY.h5`.

    A family that is there is kept if it was measured with equal settings. An interrupted
    measurement goes on in `FAMILY.h5.partial` after its last committed batch.

    Args:
        source: network and data.
        folder: of the files, made if need be.
        families: from `chosen_families`.
        samples: which samples.
        trials: of the families that draw interventions at random.
        optional: families that are left out, and said so, where the network or its data do not
            allow them; for any other that is an error.
        overwrite: replace what was measured with other settings.
        leave: families to leave alone where they are, whatever their settings.
        progress: told after every batch.
        begin: called before the first family is measured, when everything asked is accepted.
        lone: the file that the families will be put into; messages name it.
        session: of the source, where it was proven already.

    Raises:
        InputError: a family is there with other settings, another process collects here, or the
            network can't be measured (see `Session.ready`).
        ViolationError: the self-test fails on the network.
        DiskFullError: no room; what is committed stays.
    """
    samples, trials = samples or Samples(), trials or Trials()
    labels = source.images.labels
    draws = samples.draws(labels, families, optional)
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = []
    with file_lock(folder / LOCK, f"collecting into {folder}"):
        settings = {f: settings_hash(source, f, indices, trials) for f, indices in draws.items()}
        kept = set()
        for family, indices in draws.items():
            path = folder / f"{family}.h5"
            if path.exists() and (family in leave or not overwrite):
                if family not in leave:
                    _require_equal(path, settings[family], len(indices), lone)
                kept.add(family)
        session = session or Session(source, trials)
        refused: dict[str, str] = {}
        if kept != set(draws):
            missing = {f: indices for f, indices in draws.items() if f not in kept}
            refused = session.refused(missing, optional)
            if begin is not None:
                begin()
        for family, indices in draws.items():
            path = folder / f"{family}.h5"
            seconds = 0.0
            if family in refused:
                outcomes.append(Collected(family, path, 0, False, 0.0, refused[family]))
                continue
            if family not in kept:
                seconds = session.measure(family, indices, path, settings[family], progress)
            samples_there = _measured(path) if family in kept else len(indices)
            outcomes.append(Collected(family, path, samples_there, family in kept, seconds))
    return outcomes


def estimate(
    source: Source,
    families: Mapping[str, str],
    *,
    samples: Samples | None = None,
    trials: Trials | None = None,
    optional: Collection[str] = (),
) -> list[Estimate]:
    """Say what collecting would take, from one measured batch of each family; see `collect`."""
    samples = samples or Samples()
    session = Session(source, trials)
    draws = samples.draws(source.images.labels, families, optional)
    refused = session.refused(draws, optional)
    return [
        Estimate(family, 0, 0.0, 0.0, refused[family])
        if family in refused
        else estimate_family(session, family, indices)
        for family, indices in draws.items()
    ]


def settings_hash(
    source: Source, family: str, indices: NDArray[np.int64], trials: Trials | None = None
) -> str:
    """Give the SHA-256 of everything that decides the numbers of a family."""
    settings: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "family": family,
        "quantities": sorted(
            q.name for q in all_quantities().values() if q.family == family and q.measured_by
        ),
        "model": source.model_spec,
        "weights": source.weights,
        "data": source.attributes["data_fingerprint"],
        "mean": source.mean,
        "std": source.std,
        "dtype": str(source.dtype),
        "samples": hashlib.sha256(indices.tobytes()).hexdigest(),
    }
    if source.output is not None:
        settings["output"] = source.output
    owner, trials = owner_of(family), trials or Trials()
    if isinstance(owner, SweepFamily) and owner.draws:
        settings["trials"] = trials.of_draws()
    elif isinstance(owner, OfTrials):
        settings["trials"] = owner.trial_settings(trials)
    if isinstance(owner, WithSettings):
        settings["own"] = owner.own_settings()
    if owner.reestimates:
        subset = source.training_subset
        settings["training"] = [trials.training_samples, trials.seed, subset]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _measured(path: Path) -> int:
    """Give how many samples a file holds that was measured before."""
    groups, _ = read_file(path)
    samples = [dataset.sizes["sample"] for dataset in groups.values()]
    for dataset in groups.values():
        dataset.close()
    return samples[0]


def _require_equal(path: Path, settings: str, samples: int, lone: Path | None) -> None:
    if read_attributes(path).get("settings") != settings:
        there = _measured(path)
        counts = f": on {there} samples where {samples} are asked for" if there != samples else ""
        raise InputError(
            f"{path if lone is None else f'{path.stem} in {lone}'} was measured with other "
            f"settings{counts} (model, weights, data, samples or dtype; for random lesions and "
            "noise also levels, trials, their seed and training samples; for some families the "
            "steps or rules of another version); give --overwrite to replace it."
        )


def _order(quantity: Any) -> tuple[int, str]:
    costs = list(DEFAULT_SAMPLES)
    return costs.index(quantity.cost), quantity.family
