"""Collections of a sweep as words of the command `collect`."""

from __future__ import annotations

from pathlib import Path

from resprobe.collect import chosen_families
from resprobe.errors import InputError, UnknownNameError
from resprobe_analyses.sweeps.commands import parse
from resprobe_analyses.sweeps.specification import Collection

# Options of `collect` that say what is measured of a run; the others say where, or of what else.
OPTIONS = (
    "preset",
    "sample-seed",
    "sample-indices",
    "levels",
    "trials",
    "trial-seed",
    "noise-levels",
    "drop-transitions",
    "training-samples",
)


def words_of(collection: Collection, run: Path, data_dir: Path | None = None) -> list[str]:
    """Give the words after `collect` that measure a run.

    Args:
        collection: what is measured.
        run: the run directory.
        data_dir: folder of the data set's files; None for what the run remembers.
    """
    words = [str(run), "--checkpoint", collection.checkpoint, "--quiet", "--json"]
    for name in collection.quantities:
        words += ["--quantity", name]
    if collection.samples is not None:
        words += ["--samples", str(collection.samples)]
    if data_dir is not None:
        words += ["--data-dir", str(data_dir)]
    for name, value in collection.options.items():
        if isinstance(value, bool):
            words += [f"--{name}"] if value else []
        else:
            listed = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            words += [f"--{name}", listed]
    return words


def check_collection(collection: Collection) -> None:
    """Refuse what `collect` would refuse, before anything is trained.

    Raises:
        UnknownNameError: of a quantity or an option; near names are listed.
        InputError: a value that its option doesn't take.
    """
    for name in collection.options:
        if name not in OPTIONS:
            raise UnknownNameError("option of [[collect]]", name, OPTIONS)
    chosen_families(str(collection.options.get("preset", "standard")), collection.quantities)
    if not (
        collection.checkpoint in ("last", "best", "all")
        or (collection.checkpoint.isascii() and collection.checkpoint.isdigit())
    ):
        raise InputError(
            f"checkpoint = {collection.checkpoint!r} of [[collect]]: give last, best, all or the "
            "number of a step."
        )
    parse("collect", words_of(collection, Path("run")))
