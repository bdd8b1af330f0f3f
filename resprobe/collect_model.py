"""Measure a model that was not trained here: into a lone file, or a run directory of its own."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from resprobe import checkpoints
from resprobe.collect import Collected, Samples, collect
from resprobe.collect_file import accept, collect_file
from resprobe.data_request import DataRequest
from resprobe.errors import InputError
from resprobe.quantities.trials import Trials
from resprobe.session import Progress, Session
from resprobe.source import Source, become_run, from_parts
from resprobe.store.reader import is_run


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
        return collect_file(
            request.source,
            out,
            families,
            samples=samples,
            trials=trials,
            optional=optional,
            overwrite=overwrite,
            leave=leave,
            progress=progress,
            tell=tell,
        )
    source = request.source()
    for note in source.notes:
        tell(note)
    samples = samples or Samples()
    session = Session(source, trials)
    _make_run(request, source, out, partial(accept, source, session, families, samples, optional))
    # From here on it is a run like any other, whose weights are those of its own checkpoint.
    become_run(source, out, 0)
    return collect(
        source,
        out / "collected" / checkpoints.stem(0),
        families,
        samples=samples,
        trials=trials,
        optional=optional,
        overwrite=overwrite,
        leave=leave,
        progress=progress,
        session=session,
    )


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
