"""What a study draws beyond its analysis: its data set and figures."""

from __future__ import annotations

from pathlib import Path

from resprobe.errors import InputError
from resprobe_analyses.studies.evidence import Evidence

DATASET = "study.nc"


def write_drawn(evidence: Evidence, folder: Path) -> None:
    """Write `study.nc` and `study-NAME.svg` and `.png`; those of an earlier run are removed.

    Raises:
        InputError: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob("study-*.svg"), *folder.glob("study-*.png")):
            old.unlink()
        (folder / DATASET).unlink(missing_ok=True)
        if evidence.dataset is not None:
            unborn = folder / f".{DATASET}.new"
            try:
                evidence.dataset.to_netcdf(unborn, engine="h5netcdf")
                unborn.replace(folder / DATASET)
            finally:
                unborn.unlink(missing_ok=True)
        for name, figure in evidence.figures.items():
            figure.savefig(folder / f"study-{name}.svg", metadata={"Date": None})
            figure.savefig(folder / f"study-{name}.png", dpi=150)
    except OSError as error:
        raise InputError(f"{folder} can't be written ({error}); give another -o.") from error


def figures_in(folder: Path) -> list[str]:
    """Give the names of all figures of a folder as PNG, those of the analysis first."""
    return sorted(
        path.name for pattern in ("figure-*.png", "study-*.png") for path in folder.glob(pattern)
    )
