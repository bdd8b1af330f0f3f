"""By how much weights differ that were converted there and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from resprobe import checkpoints
from resprobe.errors import InputError, ViolationError
from resprobe_models.certificate import unit_roundoff
from resprobe_models.conversion import Conversion

if TYPE_CHECKING:
    from torch import Tensor


def there_and_back(
    conversion: Conversion,
    state: Mapping[str, Tensor],
    step: int,
    weights_sha256: str,
    chain: Sequence[Mapping[str, Any]],
) -> dict[str, Any] | None:
    """Compare converted weights with those that an earlier conversion began with.

    With t = h·r, adding 1 rounds by u(1 + |t|), multiplying, taking 1 off and dividing by at most
    u|t| each: together at most 4u(1 + |t|)/|h|. All else, such as stem and head, is no part of a
    conversion: these numbers stay the same to the bit.

    Args:
        conversion: of which it is the second.
        state: the converted weights.
        step: of the checkpoint.
        weights_sha256: of its file, which the first conversion must have written.
        chain: certificates of the earlier conversions.

    Returns:
        `of` (the run of the first conversion), `largest_difference` of all entries of its state and
        the `bound` for those of the layers; None where there was no such conversion, or its run is
        not there any more as it was.

    Raises:
        ViolationError: an entry differs by more than that.
    """
    first = _first(chain, conversion, step, weights_sha256)
    if first is None:
        return None
    run, began = first
    checkpoints.complete_ties(began, conversion.other.model.state_dict())
    u, largest, most = unit_roundoff(conversion.source.dtype), 0.0, 0.0
    of_layer = {
        name: layer for layer in conversion.layers for name in (layer.weight, layer.bias) if name
    }
    for name, first_value in began.items():
        own = state[name]
        r = first_value.to(own.dtype).double()
        if (layer := of_layer.get(name)) is None:
            bound = torch.zeros_like(r)
        else:
            h = layer.factor if conversion.to == "residual" else 1.0
            bound = 4 * u * (1 + (h * r).abs()) / abs(h)
        # A mask may hold infinities, whose difference is no number.
        difference = torch.where(own.double() == r, 0.0, (own.double() - r).abs())
        if not difference.numel():
            continue
        largest, most = max(largest, float(difference.max())), max(most, float(bound.max()))
        if not bool((difference <= bound).all()):
            raise ViolationError(
                f"{name} differs by {float(difference.max()):.3g} from that of {run} after a "
                f"conversion there and back, expected at most {float(bound.max()):.3g}; "
                "nothing was written."
            )
    return {"of": str(run), "largest_difference": largest, "bound": most}


def _first(
    chain: Sequence[Mapping[str, Any]], conversion: Conversion, step: int, weights_sha256: str
) -> tuple[Path, dict[str, Tensor]] | None:
    """Give the run and the weights that the last conversion began with, if it went the other way.

    They count only where both its files are still the ones that it read and wrote.
    """
    if not chain or chain[-1].get("to") == conversion.to:
        return None
    try:
        row = next(row for row in chain[-1]["checkpoints"] if row["step"] == step)
        run = Path(chain[-1]["input"])
        known = row["converted_sha256"] == weights_sha256
        path = run / checkpoints.FOLDER / f"{checkpoints.stem(step)}.safetensors"
        with path.open("rb") as stream:
            same = hashlib.file_digest(stream, "sha256").hexdigest() == row["weights_sha256"]
        return (run, checkpoints.read_tensors(path)) if known and same else None
    except (StopIteration, KeyError, TypeError, OSError, InputError):
        return None
