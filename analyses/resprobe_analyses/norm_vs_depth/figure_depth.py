"""γ against the number of blocks on logarithmic axes, each seed a line."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from resprobe_analyses import style, wording
from resprobe_analyses.norm_vs_depth import words
from resprobe_analyses.norm_vs_depth.rule import CLAIMED
from resprobe_analyses.norm_vs_depth.scaling import Group, PowerLaw, Scaling

TRAINED, UNTRAINED = style.look(0), style.look(1)
GUIDE = (0, (1, 2))
SEED = "0.65"


def drawn_groups(groups: Sequence[Group]) -> list[Group]:
    """Give the groups in which a seed has two depths."""
    return [g for g in groups if any(one.trained or one.untrained for one in g.scalings.values())]


def depth_figure(name: str, groups: Sequence[Group], images: int) -> Figure:
    """Draw γ against d for each step size, with and without stage-first blocks.

    Args:
        name: of what was measured.
        groups: at least one in which a seed has two depths.
        images: how many are behind every mean.

    Returns:
        A row for each step size and a column for each version that has an exponent: each seed as
        a thin line, means with intervals, the fitted power laws, a guide of slope −1 through the
        middle of the trained one, and the untrained networks hollow.
    """
    cases = [[one for one in g.scalings.values() if one.trained or one.untrained] for g in groups]
    columns = max(len(row) for row in cases)
    width = 2.2 + 4.1 * columns
    with style.figure_style():
        figure = Figure(figsize=(width, 1.6 + 3.5 * len(groups)), layout="constrained")
        grid = figure.subplots(len(groups), columns, sharey="row", squeeze=False)
        for group, row, axes_row in zip(groups, cases, grid, strict=True):
            for place, axes in enumerate(axes_row):
                if place >= len(row):
                    axes.set_axis_off()
                    continue
                _panel(axes, row[place])
                size = "" if len(groups) == 1 else words.at(group.h, group.moment)
                axes.set_title(f"{size}, {row[place].version}".removeprefix(", "))
                axes.set_xlabel("number of blocks, d")
            axes_row[0].set_ylabel(r"$\gamma$ = mean $\Vert G\Vert$ over blocks and images")
            _scale(axes_row[: len(row)], row)
        _legend(figure, [one for row in cases for one in row], _untrained_label(groups))
        title = f"Branch norm against depth: {name}; {wording.counted_images(images)}"
        figure.suptitle(textwrap.fill(title, int(width * 10)))
    return figure


def _panel(axes: Axes, case: Scaling) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    last = [law.mean().value[-1] for law in (case.trained, case.untrained) if law is not None]
    if case.untrained is not None:
        _law(axes, case.untrained, UNTRAINED, hollow=True, above=last[-1] == max(last))
    if case.trained is not None:
        _law(axes, case.trained, TRAINED, hollow=False, above=last[0] == max(last))
        _guide(axes, case.trained)


def _law(axes: Axes, law: PowerLaw, look: style.Look, *, hollow: bool, above: bool) -> None:
    depths, mean = np.array(law.depths, dtype=np.float64), law.mean()
    for gammas in law.gammas:
        axes.plot(depths, gammas, color=SEED, linestyle=look.line, linewidth=0.7, zorder=1)
    constant = np.exp(np.log(law.constants).mean())
    axes.plot(
        depths,
        constant * depths ** float(law.exponent.value),
        color=look.colour,
        linestyle=look.line,
        linewidth=1.5,
        zorder=2,
    )
    axes.vlines(depths, mean.low, mean.high, color=look.colour, linewidth=1.2, zorder=3)
    axes.plot(
        depths,
        mean.value,
        color=look.colour,
        linestyle="none",
        marker=look.marker,
        markersize=6,
        markerfacecolor="white" if hollow else look.colour,
        zorder=4,
    )
    shift = 9 if above else -9  # away from the other law
    axes.annotate(
        _exponent(law),
        (depths[-1], float(mean.value[-1])),
        xytext=(0, shift),
        textcoords="offset points",
        ha="right",
        va="bottom" if shift > 0 else "top",
        color=look.colour,
        fontsize=8.5,
        bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        zorder=5,
    )


def _exponent(law: PowerLaw) -> str:
    number = f"{float(law.exponent.value):+.2f}"
    if np.isfinite(law.exponent.low):
        number += f" [{float(law.exponent.low):+.2f}, {float(law.exponent.high):+.2f}]"
    return f"slope {number}".replace("-", "−")


def _guide(axes: Axes, law: PowerLaw) -> None:
    depths = np.array(law.depths, dtype=np.float64)
    middle = np.exp(np.log(depths).mean())
    height = np.exp(np.log(law.gammas).mean())
    axes.plot(
        depths,
        height * (depths / middle) ** CLAIMED,
        color="0.3",
        linestyle=GUIDE,
        linewidth=1.3,
        zorder=1.5,
    )


def _scale(axes_row: Sequence[Axes], cases: Sequence[Scaling]) -> None:
    # one range for both versions, else equal slopes would look different
    depths = sorted({depth for law in _laws(cases) for depth in law.depths})
    for axes in axes_row:
        axes.set_xlim(depths[0] / 1.15, depths[-1] * 1.15)
        axes.xaxis.set_major_locator(FixedLocator(depths))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        style.write_decades(axes.yaxis)
    low, high = axes_row[0].get_ylim()
    axes_row[0].set_ylim(low / 1.1, high * 1.1)  # room for what is written at the ends


def _untrained_label(groups: Sequence[Group]) -> str:
    nets = [net for group in groups for net in group.networks]
    if any(net.initial_statistics for net in nets):
        return "untrained (BatchNorm at mean 0, variance 1)"
    return "untrained: mean and power law"


def _legend(figure: Figure, cases: Sequence[Scaling], untrained: str) -> None:
    handles = []
    for label, look, face, laws in (
        (
            "trained: mean and power law",
            TRAINED,
            TRAINED.colour,
            [case.trained for case in cases],
        ),
        (untrained, UNTRAINED, "white", [case.untrained for case in cases]),
    ):
        if any(law is not None for law in laws):
            handles.append(
                Line2D(
                    [],
                    [],
                    color=look.colour,
                    linestyle=look.line,
                    marker=look.marker,
                    markerfacecolor=face,
                    label=label,
                )
            )
    handles.append(Line2D([], [], color=SEED, linewidth=0.7, label="each seed"))
    if any(case.trained is not None for case in cases):
        handles.append(
            Line2D(
                [],
                [],
                color="0.3",
                linestyle=GUIDE,
                label=f"slope {wording.signed_number(CLAIMED, 0)}, Eq. 5",
            )
        )
    bars = any(np.isfinite(law.exponent.low) for law in _laws(cases))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        title="bars and brackets: 95 % intervals over seeds" if bars else None,
        title_fontsize=8.5,
    )


def _laws(cases: Sequence[Scaling]) -> list[PowerLaw]:
    return [law for case in cases for law in (case.trained, case.untrained) if law is not None]
