"""YT-T3: Table 3 before training, cell by cell, under every reading of what it counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from scipy import stats

from resprobe_analyses.studies import yt_h
from resprobe_analyses.studies.evidence import Check, Evidence
from resprobe_analyses.studies.exact import exact_scales
from resprobe_analyses.studies.study import Study
from resprobe_analyses.studies.yt_h import Fan, Make, Scheme
from resprobe_analyses.studies.yt_t3_cells import (
    COLUMNS,
    COUNTED,
    ERRORS,
    TABLE,
    WORDS,
    Cell,
    Reading,
    Statistic,
    cells,
)
from resprobe_analyses.studies.yt_t3_figure import labelled, table_figure

FITS: Mapping[Scheme, Fan] = {"kwi": "in", "hmwi": "out"}
# Our draws against the closed forms: a false alarm in a thousand over all cells, by Bonferroni.
CELLS = len(yt_h.DRAWS) * len(COUNTED) * len(WORDS)
DRAW_ERRORS = float(stats.norm.isf(0.001 / CELLS / 2))


def measure(build: Make = yt_h.make) -> Evidence:
    """Draw four networks and lay each cell beside the printed one, under every reading.

    Args:
        build: gives a network with a scheme and a fan.
    """
    networks = {(scheme, fan): build(scheme, fan) for scheme, fan in yt_h.DRAWS}
    tables = {
        Reading(scheme, fan, counted): cells(network, Reading(scheme, fan, counted))
        for (scheme, fan), network in networks.items()
        for counted in COUNTED
    }
    data = labelled(tables)
    return Evidence(
        checks=tuple(_checks(tables)),
        notes=tuple(_notes(tables)),
        dataset=data,
        figures={"table": table_figure(data)},
    )


def _checks(tables: Mapping[Reading, Sequence[Cell]]) -> Iterator[Check]:
    fitting = [Reading(scheme, fan) for scheme, fan in FITS.items()]
    for reading in fitting:
        for cell in tables[reading]:
            low, high = cell.interval
            yield Check(
                f"{reading.words}: {WORDS[cell.statistic]}",
                cell.told,
                f"{cell.printed} in print: {_written(low)} to {_written(high)}",
                cell.meets,
            )
    expected: dict[Reading, set[Statistic]] = {
        Reading("hmwi", "in"): {"mass"},  # Eq. 4 as printed
        Reading("kwi", "out"): {"deviation", "large"},
        Reading("kwi", "in", "blocks"): {"large"},
        Reading("hmwi", "out", "everything"): {"mass"},
    }
    for reading, missed in expected.items():
        found = {cell.statistic for cell in tables[reading] if not cell.meets}
        yield Check(
            f"{reading.words}: cells missed", _listed(found), _listed(missed), found == missed
        )
    for reading, column in tables.items():
        off = max(cell.off for cell in column)
        yield Check(
            f"{reading.words}: the cells of one draw against the closed forms",
            f"{off:.2g} standard deviations at most",
            f"{DRAW_ERRORS:.2g} or fewer",
            off <= DRAW_ERRORS,
        )


def _written(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


def _listed(statistics: set[Statistic]) -> str:
    return ", ".join(words for name, words in WORDS.items() if name in statistics) or "none"


def _notes(tables: Mapping[Reading, Sequence[Cell]]) -> Iterator[str]:
    yield (
        f"A cell is met if its expected number lies among those that round to the printed one, "
        f"widened by {ERRORS} standard deviations of one draw, which the paper's is. Given are the "
        "expected number with that deviation, and the one of a network drawn here."
    )
    for reading, column in tables.items():
        if reading.counted == "convolutions" and reading.fan != FITS[reading.scheme]:
            told = "; ".join(
                f"{WORDS[cell.statistic]} {cell.told} ({cell.printed} in print"
                f"{'' if cell.meets else ', missed'})"
                for cell in column
            )
            yield f"{reading.words}: {told}."
    for reading, column in tables.items():
        if reading.counted != "convolutions":
            missed = {cell.statistic for cell in column if not cell.meets}
            told = f"missed {_listed(missed)}" if missed else "every cell is met"
            yield f"{reading.words}: {told}."
    yield (
        "The linear layer is counted as the architecture draws it, uniformly within ±1/8, which "
        "column p₀ alone would not rule out."
    )


STUDY = Study(
    id="YT-T3",
    version=1,
    claim="Before training, Table 3 is that of networks of depth 32 drawn by KWI with S from the "
    "input channels (Eq. 3) and by HMWI with S from the output channels, all convolutions counted, "
    "the stem too, the linear layer not. With S from the input channels, as Eq. 4 is printed, one "
    "cell fails: the sum of weights of t₀.",
    source="Yu and Tomasi (2019), Identity connections in residual nets improve noise stability, "
    "appendix C, Table 3, first and third column, and appendix A, Eqs. 3 and 4",
    printed={
        f"{COLUMNS[scheme]}, {WORDS[statistic]}": printed
        for scheme, column in TABLE.items()
        for statistic, printed in column.items()
    },
    contradicted_by="A printed cell that differs from the expected number by more than its "
    "rounding and two standard deviations of a draw, or another reading that meets all cells where "
    "the claim says that it does not.",
    measure=measure,
    primary=None,
    scales=exact_scales("all weights of depth 32 at full width, drawn four times", 0.1),
    errata=(
        "Eq. 4 takes S from the input channels, which gives a sum of weights of t₀ of 2000 to two "
        "digits; the printed 1900 needs the output channels.",
    ),
)
