"""Measure a model that was not trained here: into a lone file, or a run directory of its own."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resprobe import checkpoints
from resprobe.collect import Collected, Samples, collect
from resprobe.data_request import DataRequest
from resprobe.errors import InputError
from resprobe.quantities.trials import Trials
from resprobe.session import Progress, Session
from resprobe.source import Source, become_run, collect_command, from_parts
from resprobe.store.export import write_tree
from resprobe.store.lock import LOCK, file_lock
from resprobe.store.reader import enclosing_run, is_run, read_attributes, read_file

# What the families of one lone file must have in common.
_ORIGIN = ("model", "weights_sha256", "data_fingerprint")
# What each has for itself: an attribute with the name of the family behind it.
_OF_FAMILY = ("settings", "batch_norm_mode")


@dataclass(frozen=True)
class ModelRequest:
    """Any network, the arguments of its factory, its weights, and the data to measure it on.

    Attributes:
        model: see `resprobe.network`.
        arguments: of its factory.
        weights: a file or a transformers folder; None measures it as its factory gave it.
        data: what to measure it on.
        device: "auto", "cpu", "cuda", …
        output: which part of the model's output are the logits; None where that is clear.
    """

    model: str
    arguments: Mapping[str, Any]
    weights: Path | None
    data: DataRequest
    device: str = "auto"
    output: str | None = None

    def source(self) -> Source:
        """Load everything.

        Raises:
            InputError: something is missing, damaged or does not fit.
        """
        return from_parts(
            self.model,
            self.arguments,
            self.weights,
            self.data,
            device=self.device,
            output=self.output,
        )


def collect_model(
    request: ModelRequest,
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
    """Collect families of a model into `out`; a lone file holds those of one network only.

    Args:
        request: what to measure.
        out: a path ending in .h5 becomes a lone file with the families as groups, any other a
            run directory with `source.toml` and the weights as checkpoint `step-00000000`.
        families: from `chosen_families`.
        samples: which samples.
        trials: see `collect`.
        optional: see `collect`.
        overwrite: replace families that were measured with other settings, and the whole of a
            lone file of another model, weights or data.
        leave: families to leave alone where they are.
        progress: told after every batch.
        tell: told what a person should know before reading the numbers.

    Raises:
        InputError: see `collect`; or `out` is something else.
    """
    if out.suffix == ".h5":
        _refuse_run_file(out)
    source = request.source()
    for note in source.notes:
        tell(note)
    samples = samples or Samples()
    session = Session(source, trials)

    def accept() -> None:
        """Refuse what can't be measured before anything is written."""
        for cost in families.values():
            samples.draw(source.images.labels, cost)
        session.refused(families, optional)

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
            lone=out if out.suffix == ".h5" else None,
            session=session,
        )

    if out.suffix == ".h5":
        if not out.exists():
            accept()
        return _lone_file(out, source, overwrite, into)
    _make_run(request, source, out, accept)
    # From here on it is a run like any other, whose weights are those of its own checkpoint.
    become_run(source, out, 0)
    return into(out / "collected" / checkpoints.stem(0))


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
    foreign = []
    for path in found:
        attributes = read_attributes(path)
        if any(attributes.get(name) != source.attributes[name] for name in _ORIGIN):
            foreign.append(path)
    if foreign and not overwrite:
        what = str(out) if out in foreign else f"an interrupted collection into {out}"
        raise InputError(
            f"{what} was measured on another model, other weights or other data; choose another "
            "-o, or give --overwrite to replace the whole file."
        )
    return foreign


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


def _make_run(request: ModelRequest, source: Source, out: Path, accept: Callable[[], None]) -> None:
    """Make a run directory for a foreign model, or accept one that was made for the same."""
    text = _source_toml(request, source)
    path = out / "source.toml"
    if path.exists() and path.read_bytes() == text.encode():
        return
    if out.exists() and (not out.is_dir() or is_run(out) or any(out.iterdir())):
        raise InputError(
            f"{out} exists and is not this model's run directory{_differing(path, text)}; choose "
            "another -o."
        )
    accept()
    from safetensors.torch import save_file

    folder = out / checkpoints.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{checkpoints.stem(0)}.safetensors"
    save_file(checkpoints.without_ties(source.model.state_dict()), weights)
    info = {
        "step": 0,
        "mean": source.mean,
        "std": source.std,
        "standardised": source.attributes["standardised"],
        "data_fingerprint": source.attributes["data_fingerprint"],
        "weights": str(request.weights or ""),
    }
    weights.with_suffix(".json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    path.write_bytes(text.encode())


def _differing(path: Path, text: str) -> str:
    """Say in which keys of its source.toml a run differs, "" if it has none that can be read."""
    try:
        ours, theirs = tomllib.loads(text), tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    first, second = (dict(_flat(table)) for table in (ours, theirs))
    keys = sorted(key for key in first.keys() | second.keys() if first.get(key) != second.get(key))
    return f": {', '.join(keys)} differ" if keys else ""


def _flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _source_toml(request: ModelRequest, source: Source) -> str:
    import tomli_w

    assert source.network is not None  # it was made by from_parts
    output = {"output": request.output} if request.output is not None else {}
    return tomli_w.dumps(
        {
            **output,
            "model": dict(source.network.table),
            "weights": {"path": str(request.weights or ""), "sha256": source.weights},
            "data": dict(source.data),
        }
    )
