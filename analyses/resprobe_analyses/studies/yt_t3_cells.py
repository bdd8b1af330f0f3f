"""Cells of Table 3 of Yu and Tomasi (2019): printed, expected under a reading, and drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from resprobe_analyses.studies import weight_moments, yt_h
from resprobe_analyses.studies.equivalent_networks import id_entries_of
from resprobe_analyses.studies.weight_moments import Drawn, Expected, Normal, Uniform
from resprobe_analyses.studies.yt_h import Fan, Scheme

if TYPE_CHECKING:
    from torch import Tensor, nn

Counted = Literal["convolutions", "blocks", "everything"]
Statistic = Literal["mean", "deviation", "mass", "large", "id"]

COLUMNS: Mapping[Scheme, str] = {"kwi": "p₀", "hmwi": "t₀"}
WORDS: Mapping[Statistic, str] = {
    "mean": "mean",
    "deviation": "standard deviation",
    "mass": "mass of all weights",
    "large": "mass of weights of 0.25 or more",
    "id": "mass of the ID entries",
}
# Table 3, as printed: two significant digits.
TABLE: Mapping[Scheme, Mapping[Statistic, str]] = {
    "kwi": {
        "mean": "0.000062",
        "deviation": "0.070",
        "mass": "25000",
        "large": "420",
        "id": "67",
    },
    "hmwi": {
        "mean": "0.0023",
        "deviation": "0.048",
        "mass": "1900",
        "large": "1100",
        "id": "1100",
    },
}
LARGE = 0.25
COUNTED: Mapping[Counted, str] = {
    "convolutions": "all convolutions",
    "blocks": "the convolutions of the blocks alone",
    "everything": "all convolutions and the linear layer",
}
# How many standard deviations of the paper's own draw are granted beside the rounding in print.
ERRORS = 2


@dataclass(frozen=True)
class Reading:
    """One way to read how a column of Table 3 came about.

    Attributes:
        scheme: of the column.
        fan: from whose channels S is taken.
        counted: which weights count.
    """

    scheme: Scheme
    fan: Fan
    counted: Counted = "convolutions"

    @property
    def words(self) -> str:
        """The reading in words."""
        side = {"in": "input", "out": "output"}[self.fan]
        return f"{COLUMNS[self.scheme]}, S from the {side} channels, {COUNTED[self.counted]}"


@dataclass(frozen=True)
class Cell:
    """One cell of the table.

    Attributes:
        statistic: which row.
        printed: as it is printed.
        expected: with the standard deviation of one draw.
        drawn: of the network that was drawn here.
    """

    statistic: Statistic
    printed: str
    expected: Expected
    drawn: float

    @property
    def interval(self) -> tuple[float, float]:
        """What rounds to the printed number, widened by two standard deviations of a draw."""
        low, high = rounding_interval(self.printed)
        return low - ERRORS * self.expected.deviation, high + ERRORS * self.expected.deviation

    @property
    def meets(self) -> bool:
        """Whether the expected number lies in that interval."""
        low, high = self.interval
        return low <= self.expected.value <= high

    @property
    def off(self) -> float:
        """How many standard deviations the draw lies off the expected number."""
        if self.drawn == self.expected.value:
            return 0.0
        return abs(self.drawn - self.expected.value) / self.expected.deviation

    @property
    def told(self) -> str:
        """The expected number with its deviation, and the drawn one."""
        value, deviation = self.expected
        places = max(0, 1 - math.floor(math.log10(deviation)))
        return f"{value:,.{places}f} ± {deviation:.2g}, drawn {self.drawn:,.{places}f}"


def rounding_interval(printed: str) -> tuple[float, float]:
    """Give the numbers that round to a printed one of two significant digits."""
    value = float(printed)
    half = 10.0 ** (math.floor(math.log10(value)) - 1) / 2
    return value - half, value + half


def parts_of(network: nn.Module, reading: Reading) -> tuple[list[Drawn], list[Drawn]]:
    """Give the distributions of the weights that count, of all and of the ID entries.

    Args:
        network: a simplified one, of which only shapes are read.
        reading: of the column; with HMWI 1 is added at the ID entries.
    """
    everything: list[Drawn] = []
    identities: list[Drawn] = []
    entries = id_entries_of(network)
    for name, weight in counted_weights(network, reading.counted):
        if weight.ndim == 2:  # as PyTorch draws a linear layer
            everything.append(Uniform(weight.numel(), 1 / math.sqrt(weight.shape[1])))
            continue
        deviation = yt_h.expected(reading.scheme, reading.fan, tuple(weight.shape))
        count = int(entries[name].sum()) if name in entries else 0
        everything.append(Normal(weight.numel() - count, 0.0, deviation))
        if count:
            shift = 1.0 if reading.scheme == "hmwi" else 0.0
            identities.append(Normal(count, shift, deviation))
    return everything + identities, identities


def counted_weights(network: nn.Module, counted: Counted) -> Iterator[tuple[str, Tensor]]:
    """Give name and value of the weights that count, biases never."""
    entries = id_entries_of(network)
    for name, parameter in network.named_parameters():
        kept = {
            "convolutions": parameter.ndim == 4,
            "blocks": name in entries,
            "everything": parameter.ndim > 1,
        }
        if kept[counted]:
            yield name, parameter.detach()


def cells(network: nn.Module, reading: Reading) -> list[Cell]:
    """Give the five cells of a column under one reading.

    Args:
        network: drawn as the reading says.
        reading: of the column.
    """
    import torch

    from resprobe.linalg.transfer import to_plain
    from resprobe.quantities.weights import statistics

    entries = id_entries_of(network)
    weights = dict(counted_weights(network, reading.counted))
    if reading.scheme == "hmwi":
        weights = to_plain(weights, entries)
    masks = [entries.get(name, torch.zeros_like(weight, dtype=torch.bool)).flatten()
             for name, weight in weights.items()]  # fmt: skip
    found = statistics(
        torch.cat([weight.flatten() for weight in weights.values()]), torch.cat(masks)
    )
    everything, identities = parts_of(network, reading)
    table: Mapping[Statistic, tuple[Expected, str]] = {
        "mean": (weight_moments.expected_mean(everything), "weight_mean"),
        "deviation": (weight_moments.expected_deviation(everything), "weight_std"),
        "mass": (weight_moments.expected_mass(everything), "weight_mass"),
        "large": (weight_moments.expected_mass(everything, LARGE), "large_weight_mass"),
        "id": (weight_moments.expected_mass(identities), "id_entry_mass"),
    }
    return [
        Cell(statistic, TABLE[reading.scheme][statistic], expected, float(found[key]))
        for statistic, (expected, key) in table.items()
    ]
