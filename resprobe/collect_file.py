"""Measure any network into a lone file, which holds the families of one network only."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from resprobe.collect import Collected, Samples, collect
from resprobe.errors import InputError
from resprobe.quantities.trials import Trials
from resprobe.session import Progress, Session
from resprobe.source import Source, collect_command
from resprobe.store.export import write_tree
from resprobe.store.lock import LOCK, file_lock
from resprobe.store.reader import enclosing_run, read_attributes, read_file

# What the families of one lone file must have in common, and how it is called where they have not.
_ORIGIN = {
    "model": "another model",
    "weights_sha256": "other weights",
    "data_fingerprint": "other data",
}
# What each has for itself: an attribute with the name of the family behind it.
_OF_FAMILY = ("settings", "batch_norm_mode")


def collect_file(
    make: Callable[[], Source],
    out: Path,
    families: Mapping[str, str],
    *,
    samples: Samples | None = None,
    trials: Trials | None = None,
    optional: Collection[str] = (),
    overwrite: bool = False,
    leave: Collection[str] = (),
    progress: Progress | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Collected]:
    """Collect families of one network into a lone file, which holds those of no other.

    Args:
        make: gives the network and its data, once the file is seen to be no other's.
        out: path of the file, ending in .h5.
        families: from `chosen_families`.
        samples: see `collect`.
        trials: see `collect`.
        optional: see `collect`.
        overwrite: replace families that were measured with other settings, and the whole of a
            file of another model, weights or data.
        leave: families to leave alone where they are.
        progress: told after every batch.
        tell: told what a person should know before reading the numbers.

    Raises:
        InputError: see `collect`; or `out` is something else.
    """
    _refuse_run_file(out)
    source = make()
    for note in source.notes:
        tell(note)
    samples = samples or Samples()
    session = Session(source, trials)
    if not out.exists():
        accept(source, session, families, samples, optional)

    def into(folder: Path) -> list[Collected]:
        return collect(
            source,
            folder,
            families,
            samples=samples,
            trials=trials,
            optional=optional,
            overwrite=overwrite,
            leave=leave,
            progress=progress,
            lone=out,
            session=session,
        )

    return _lone_file(out, source, overwrite, into)


def accept(
    source: Source,
    session: Session,
    families: Mapping[str, str],
    samples: Samples,
    optional: Collection[str],
) -> None:
    """Refuse what can't be measured before anything is written."""
    session.refused(samples.draws(source.images.labels, families, optional), optional)


def _refuse_run_file(out: Path) -> None:
    """Refuse to put a foreign model's families among what a run recorded."""
    run = enclosing_run(out)
    if run is not None:
        raise InputError(
            f"{out} lies in the run directory {run}, which only its own commands write: use "
            f"`{collect_command(run)}`, or choose another -o."
        )
    if out.is_symlink() and not out.exists():
        raise InputError(f"{out} is a link that leads nowhere; choose another -o.")
    if not out.exists():
        return
    groups, _ = read_file(out)
    for dataset in groups.values():
        dataset.close()
    recorded = [name for name in groups if "/" in name.strip("/")]
    if recorded:
        raise InputError(
            f"{out} holds {recorded[0]} of a run, not the families of a model; choose another -o."
        )


def _lone_file(
    out: Path, source: Source, overwrite: bool, into: Callable[[Path], list[Collected]]
) -> list[Collected]:
    """Measure into `OUT.partial/`, then build the file anew and put it in place."""
    parts = out.with_name(out.name + ".partial")
    _foreign(out, parts, source, overwrite)  # refuses before anything is written
    out.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(out.with_name(out.name + LOCK), f"the file {out}"):
        foreign = _foreign(out, parts, source, overwrite)
        for path in foreign:
            if path != out:
                path.unlink()
        unpacked = _unpack(out, parts) if out.exists() and out not in foreign else []
        try:
            done = into(parts)
        except BaseException:
            # What was measured stays, to go on from; copies of what the file holds do not.
            for path in (*unpacked, parts / LOCK):
                path.unlink(missing_ok=True)
            if parts.is_dir() and not any(parts.iterdir()):
                parts.rmdir()
            raise
        groups: dict[str, Any] = {}
        attributes: dict[str, Any] = {}
        for part in sorted(parts.glob("*.h5")):
            read, own = read_file(part)
            groups.update(read)
            named = {f"{key}_{part.stem}": own.pop(key, "") for key in _OF_FAMILY}
            attributes = {**attributes, **own, **named}
        write_tree(groups, attributes, out)
        for dataset in groups.values():
            dataset.close()
        shutil.rmtree(parts)
    return [replace(item, path=out) for item in done]


def _foreign(out: Path, parts: Path, source: Source, overwrite: bool) -> list[Path]:
    """Give the file, and the families of an interrupted collection, if of another network.

    Raises:
        InputError: there are some, and they may not be replaced.
    """
    found = [path for path in (out, *sorted(parts.glob("*.h5"))) if path.exists()]
    foreign = {}
    for path in found:
        attributes = read_attributes(path)
        differs = [
            told
            for name, told in _ORIGIN.items()
            if attributes.get(name) != source.attributes[name]
        ]
        if differs:
            foreign[path] = " and ".join(differs)
    if foreign and not overwrite:
        what = str(out) if out in foreign else f"an interrupted collection into {out}"
        differs_by = foreign.get(out) or next(iter(foreign.values()))
        raise InputError(
            f"{what} was measured on {differs_by}; choose another -o, or give --overwrite to "
            "replace the whole file."
        )
    return list(foreign)


def _unpack(out: Path, parts: Path) -> list[Path]:
    """Give every family of a lone file its own file again, so that it can be kept or replaced."""
    groups, attributes = read_file(out)
    parts.mkdir(parents=True, exist_ok=True)
    unpacked = []
    for name, dataset in groups.items():
        family = name.strip("/")
        path = parts / f"{family}.h5"
        if not path.exists():
            named = tuple(f"{key}_" for key in _OF_FAMILY)
            own = {k: v for k, v in attributes.items() if not k.startswith(named)}
            own |= {key: attributes.get(f"{key}_{family}", "") for key in _OF_FAMILY}
            write_tree({name: dataset}, own, path)
            unpacked.append(path)
        dataset.close()
    return unpacked
