"""What `resprobe convert` leaves: the converted run, and the certificate of what was done."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w
from safetensors.torch import save_file

from resprobe import checkpoints
from resprobe.converted import CERTIFICATE, read_certificate
from resprobe.errors import InputError
from resprobe.files import real_path
from resprobe.provenance import provenance
from resprobe.run_recipe import read_run_recipe, recipe_path
from resprobe.store.reader import is_run
from resprobe_models.certificate import Comparison, Progress
from resprobe_models.conversion import Conversion, Request, prepare
from resprobe_models.conversion_place import STATE, in_place, refuse_unusable
from resprobe_models.recipe import Recipe, from_tables, from_toml, to_toml
from resprobe_models.there_and_back import there_and_back


@dataclass(frozen=True)
class Converted:
    """What a conversion left.

    Attributes:
        out: its folder.
        is_run: whether that is a run directory; else it holds `STATE`.
        unresumable: why `train --resume` can't go on there, "" where it can or nothing was trained.
        certificate: the contents of `CERTIFICATE`.
    """

    out: Path
    is_run: bool
    unresumable: str
    certificate: dict[str, Any]


def convert(
    request: Request,
    out: Path,
    which: Literal["last", "best", "all"] | int = "last",
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Convert checkpoints of a run into a run of the network that equals it.

    Args:
        request: what to convert.
        out: folder to write.
        which: of the checkpoints.
        overwrite: replace what an earlier conversion left there; what came there since is refused.
        progress: told after every batch that the outputs were compared on.

    Raises:
        InputError: the run can't be loaded or not be converted, or `out` can't be written.
        ViolationError: the outputs differ by more than rounding, or the weights do after a
            conversion there and back; nothing is written then.
    """
    _refuse_no_run(request.run)
    refuse_unusable(request.run, out, overwrite=overwrite)
    steps = _steps(request.run, which)
    before = _chain(request.run)
    conversion = prepare(request, steps[0])
    if not conversion.counterpart and len(steps) > 1:
        raise InputError(
            f"{len(steps)} checkpoints of {request.run}, but without a counterpart only one state "
            "is written; give --checkpoint STEP, or the counterpart with --counterpart."
        )
    with in_place(out, overwrite=overwrite) as folder:
        rows = []
        for step in steps:
            weights = _weights(request.run, step)
            state, found = conversion.convert(weights, _of_step(progress, step))
            kept = folder / STATE
            if conversion.counterpart:
                kept = _weights(folder, step)
                kept.parent.mkdir(exist_ok=True)
            save_file(checkpoints.without_ties(state), kept)
            back = there_and_back(conversion, state, step, _digest(weights), before)
            rows.append(_row(step, weights, kept, found, back))
        unresumable = ""
        if conversion.counterpart:
            unresumable = _describe_run(request, conversion, steps, folder, out)
        document = _certificate(request, conversion, rows, before)
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        (folder / CERTIFICATE).write_text(text, encoding="utf-8")
    return Converted(out, conversion.counterpart, unresumable, document)


def _refuse_no_run(run: Path) -> None:
    if not run.exists():
        raise InputError(f"{run} does not exist; give a run directory.")
    if not run.is_dir():
        place = str(run.parent) if is_run(run.parent) else "of a run"
        raise InputError(f"{run} is a file; give the directory {place} instead.")


def _of_step(progress: Progress | None, step: int) -> Progress | None:
    if progress is None:
        return None
    return lambda name, done, total: progress(f"step {step}, {name}", done, total)


def _weights(run: Path, step: int) -> Path:
    return run / checkpoints.FOLDER / f"{checkpoints.stem(step)}.safetensors"


def _steps(run: Path, which: Literal["last", "best", "all"] | int) -> list[int]:
    if which == "all" and (known := checkpoints.steps(run)):
        return known
    return [checkpoints.resolve(run, "last" if which == "all" else which)]


# -- the run -------------------------------------------------------------------------------------


def _describe_run(
    request: Request, conversion: Conversion, steps: Sequence[int], folder: Path, out: Path
) -> str:
    """Write what makes a run of converted weights; say why it can't be resumed, "" if it can.

    Args:
        request: what was converted.
        conversion: and how.
        steps: of its checkpoints.
        folder: to write, with the converted weights.
        out: where it will be. A foreign run names the weights that it began with, which are the
            converted ones; the certificate says where these come from.
    """
    text, tables = read_run_recipe(request.run)
    name, reason = recipe_path(request.run).name, ""
    if name == "recipe.toml":
        recipe, reason = _converted_recipe(text, request, conversion)
        content = to_toml(recipe)
        more = {"recipe_fingerprint": recipe.fingerprint()}
    else:
        began = str(_weights(real_path(out), steps[0]))
        table = {"path": began, "sha256": _digest(_weights(folder, steps[0]))}
        content = tomli_w.dumps({**tables, "model": dict(conversion.other.table), "weights": table})
        more = {"weights": began}
    for step in steps:
        info = {**checkpoints.read_info(request.run, step), **more}
        path = _weights(folder, step).with_suffix(".json")
        path.write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
        state = _weights(request.run, step).with_suffix(".state.safetensors")
        if not reason and state.is_file():
            # Both networks have the same gradients, so their optimizers have the same state.
            shutil.copyfile(state, folder / checkpoints.FOLDER / state.name)
    (folder / name).write_text(content, encoding="utf-8")
    return reason


def _converted_recipe(text: str, request: Request, conversion: Conversion) -> tuple[Recipe, str]:
    """Give the recipe of the other network, and why training by it would not go on as before."""
    tables = from_toml(text, str(recipe_path(request.run))).tables()
    tables["model"] = dict(conversion.other.table)
    # The run that it was paired with is a partner of the given network.
    tables.pop("pair", None)
    train, reason = tables["train"], ""
    decays = train["weight_decay"] * train["wd_scale"] != 0
    if request.to == "plain":
        train["decay_toward"] = "identity" if decays else "zero"
    else:
        if decays and train["decay_toward"] == "zero":
            reason = (
                "its weight decay pulled the ID entries to 0, which that of a residual network "
                "does not"
            )
        train["decay_toward"] = "zero"
    if any(layer.factor != 1 for layer in conversion.layers):
        reason = "the gradients of its layers are not those of the given network"
    return from_tables(tables), reason


# -- the certificate -----------------------------------------------------------------------------


def _certificate(
    request: Request,
    conversion: Conversion,
    rows: list[dict[str, Any]],
    before: list[dict[str, Any]],
) -> dict[str, Any]:
    source, rounding = conversion.source, conversion.rounding
    own = str(source.dtype).removeprefix("torch.")
    trained = read_run_recipe(request.run)[1].get("train", {}).get("dtype", own)
    return {
        **provenance(),
        "title": "resprobe certificate of a conversion",
        "to": request.to,
        "input": str(real_path(request.run)),
        "network": source.model_spec,
        "converted_network": conversion.other.spec if conversion.counterpart else "",
        "layers": [
            {
                "block": layer.block,
                "weight": layer.weight,
                "bias": layer.bias,
                "factor": layer.factor,
                "id_entries": int(layer.id_entries.sum()),
            }
            for layer in conversion.layers
        ],
        "samples": len(conversion.indices),
        "run_dtype": trained,
        "compared_otherwise": ""
        if trained == own
        else (
            f"the run was trained in {trained} under autocast, over {own} weights; its outputs are "
            f"compared in float64 and {own}, without autocast"
        ),
        "data_fingerprint": source.attributes["data_fingerprint"],
        "bound": {
            "formula": "2 * (terms + 2) * layers * unit roundoff * scale",
            "terms": rounding.terms,
            "layers": rounding.layers,
        },
        "checkpoints": rows,
        "chain": before,
    }


def _row(
    step: int,
    weights: Path,
    kept: Path,
    found: Sequence[Comparison],
    back: dict[str, Any] | None,
) -> dict[str, Any]:
    return {
        "step": step,
        "weights_sha256": _digest(weights),
        "converted_sha256": _digest(kept),
        "outputs": [comparison.document() for comparison in found],
        "there_and_back": back,
    }


def _chain(run: Path) -> list[dict[str, Any]]:
    """Give the certificates of the conversions that a run came from, the oldest first."""
    last = read_certificate(run)
    return [*last.pop("chain"), last] if last is not None else []


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
