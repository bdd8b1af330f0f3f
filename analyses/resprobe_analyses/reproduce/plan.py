"""Which studies are run at which scale, and where what they give is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resprobe import registry
from resprobe.errors import InputError, UnknownNameError
from resprobe_analyses.studies.study import SCALES, Setting, Study
from resprobe_analyses.sweeps.specification import Sweep

# Names that become folders.
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Planned:
    """One row of the ledger to be made: a study at a scale on one data set."""

    study: Study
    scale: str
    setting: Setting

    @property
    def key(self) -> tuple[str, str, str]:
        """What no two rows of a ledger share: id, scale and data."""
        return self.study.id, self.scale, self.setting.data

    @property
    def title(self) -> str:
        """How sentences name it."""
        on = "" if self.setting.sweep is None else f" on {self.setting.data}"
        return f"{self.study.id}{on} at scale {self.scale}"

    def folder(self, out: Path) -> Path:
        """Give the folder of its evidence, data sets and figures."""
        return study_folder(out, self.study.id) / f"{self.scale}-{self.setting.data}"

    def sweep_folder(self, out: Path) -> Path:
        """Give the folder of its runs, which studies that name an equal sweep share."""
        if self.setting.sweep is None:
            raise ValueError(f"{self.study.id} trains nothing")
        return out / "sweeps" / self.setting.sweep.name


def study_folder(out: Path, study_id: str) -> Path:
    """Give the folder of everything that one study left."""
    return out / "studies" / study_id


def registered() -> dict[str, Study]:
    """Load every registered study, by id.

    Raises:
        InputError: what is registered is no study, carries another id, or names what can't be a
            folder.
    """
    return {name: _load(name) for name in registry.entries("studies")}


def _load(name: str) -> Study:
    study = registry.load("studies", name)
    if not isinstance(study, Study) or study.id != name:
        raise InputError(
            f"what is registered as the study {name!r} is no resprobe_analyses.studies.study.Study "
            "of that id; repair or uninstall its package."
        )
    settings = [setting for several in study.scales.values() for setting in several]
    sweeps = [setting.sweep.name for setting in settings if setting.sweep is not None]
    for part in (name, *study.scales, *(setting.data for setting in settings), *sweeps):
        if not _SAFE.fullmatch(part):
            raise InputError(
                f"the study {name} names {part!r}, which can't be a folder: expected letters, "
                "digits, '.', '_', '+' and '-'; repair or uninstall its package."
            )
    return study


def chosen(ids: Sequence[str]) -> list[Study]:
    """Give the named studies, or all.

    Raises:
        UnknownNameError: one is unknown; near names are listed.
    """
    known = registered()
    for name in ids:
        if name not in known:
            raise UnknownNameError("study", name, known)
    return [known[name] for name in dict.fromkeys(ids or known)]


def scales_of(studies: Mapping[str, Study]) -> tuple[str, ...]:
    """Give all scales: those that every study knows, then those that single ones declare."""
    own = {scale for study in studies.values() for scale in study.scales} - set(SCALES)
    return (*SCALES, *sorted(own))


def plan(ids: Sequence[str], scale: str) -> tuple[list[Planned], list[Study]]:
    """Give the rows to be made, and the studies that do not declare the scale.

    Args:
        ids: of the studies, in any order; none means all that are registered.
        scale: such as `small`.

    Raises:
        UnknownNameError: a study or the scale is unknown.
        InputError: no study declares the scale, or two of them mean different runs by one name of
            a sweep.
    """
    studies, known = chosen(ids), registered()
    if scale not in scales_of(known):
        raise UnknownNameError("scale", scale, scales_of(known))
    rows = [
        Planned(study, scale, setting)
        for study in studies
        for setting in study.scales.get(scale, ())
    ]
    if not rows:
        raise InputError(
            f"no study {'of those named ' if ids else ''}declares the scale {scale}; "
            "`resprobe reproduce --list` shows what each declares."
        )
    _refuse_two_meanings(known)
    return rows, [study for study in studies if scale not in study.scales]


def sharing(planned: Planned) -> list[Planned]:
    """Give all registered rows of the same scale whose runs are the same, this one included."""
    if planned.setting.sweep is None:
        return [planned]
    return [
        Planned(study, planned.scale, setting)
        for study in registered().values()
        for setting in study.scales.get(planned.scale, ())
        if setting.sweep == planned.setting.sweep
    ]


def _refuse_two_meanings(studies: Mapping[str, Study]) -> None:
    seen: dict[str, tuple[str, Sweep]] = {}
    for study in studies.values():
        for sweep in (setting.sweep for several in study.scales.values() for setting in several):
            if sweep is None:
                continue
            first, other = seen.setdefault(sweep.name, (study.id, sweep))
            if other != sweep:
                raise InputError(
                    f"{first} and {study.id} name two sweeps {sweep.name!r} with different runs; "
                    "one of them must be given another name."
                )
