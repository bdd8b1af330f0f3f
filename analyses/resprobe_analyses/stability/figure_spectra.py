"""Eigenvalues of the branches in the complex plane, with their residual discs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from resprobe_analyses import style
from resprobe_analyses.reading import Flags, Integers
from resprobe_analyses.stability import drawing, words
from resprobe_analyses.stability.eigenvalues import eigenvalue_errors, known_condition
from resprobe_analyses.stability.families import BRANCH
from resprobe_analyses.stability.records import Group, Spectrum
from resprobe_analyses.stage_names import first_to_last

Floats = npt.NDArray[np.float64]

EACH = 12  # up to so many square blocks have a panel each
PARTS_OF_STAGE = 4  # else a stage is cut into so many rows of blocks
COLUMNS = 4
LARGEST, RIGHTMOST = style.look(0), style.look(1)
GUIDE = (0, (4, 2))


@dataclass(frozen=True)
class Panel:
    """What one panel shows.

    Attributes:
        group: whose branches.
        title: above it.
        blocks: their positions.
        row: panels of one row have one scale.
    """

    group: Group
    title: str
    blocks: Integers
    row: int


@dataclass(frozen=True)
class Points:
    """Eigenvalues of a panel, each array of shape (eigenvalue,).

    Attributes:
        real: part.
        imag: part.
        radius: of the residual disc.
        converged: whether it did.
        rightmost: whether the solver looked for it on the right.
        conditioned: whether the radius has a condition number in it.
    """

    real: Floats
    imag: Floats
    radius: Floats
    converged: Flags
    rightmost: Flags
    conditioned: Flags


def spectra_figure(groups: Sequence[Group]) -> Figure | None:
    """Draw the eigenvalues of all branches that have some, None where none has.

    Args:
        groups: with several, each has a row of panels by stage; a single one has a panel for each
            block or, with many blocks, for each part of a stage.

    Returns:
        Panels of one row share their scale. The circle is |1 + λ| = 1, within which forward Euler
        is stable, or |λ| = 1 for a plain network. What did not converge is hollow.
    """
    panels = panels_of(groups)
    if not panels:
        return None
    drawn = list({id(panel.group): panel.group for panel in panels}.values())
    points = [points_of(panel) for panel in panels]
    rows = sorted({panel.row for panel in panels})
    columns = max(sum(panel.row == row for panel in panels) for row in rows)
    width = max(1.0 + 2.35 * columns, 6.5)
    with style.figure_style():
        figure = Figure(figsize=(width, 1.6 + 2.5 * len(rows)), layout="constrained")
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for row, line in zip(rows, grid, strict=True):
            inside = [(p, q) for p, q in zip(panels, points, strict=True) if p.row == row]
            window = _window([q for _, q in inside])
            for axes, (panel, found) in zip(line, inside, strict=False):
                axes.set_axis_on()
                _draw(axes, panel, found, window)
            line[0].set_ylabel(r"$\mathrm{Im}\,\lambda$")
        for axes in grid[-1]:
            axes.set_xlabel(r"$\mathrm{Re}\,\lambda$")
        style.legend_below(figure, _handles(panels, points), _told(points))
        spectrum = next(s for panel in panels for s in _spectra(panel.group))
        images = spectrum.eigenvalues.shape[0]
        drawing.put_title(figure, f"Spectra of the {_branches(drawn)}", drawn, images, width)
    return figure


def panels_of(groups: Sequence[Group]) -> list[Panel]:
    """Choose the panels: blocks, parts of stages, or stages of each group."""
    having = [group for group in groups if _square(group).any()]
    if len(having) == 1:
        return _panels_of_one(having[0])
    found = []
    for row, group in enumerate(having):
        layout, square = group.first.layout, _square(group)
        for stage in np.unique(layout.stage[square]):
            blocks = np.flatnonzero(square & (layout.stage == stage))
            label = textwrap.shorten(group.label, 18, placeholder="…")
            title = f"{label}, {_title(group, int(stage), blocks)}"
            found.append(Panel(group, title, blocks, row))
    return found


def points_of(panel: Panel) -> Points:
    """Collect the eigenvalues of a panel over images and networks."""
    parts: list[Points] = []
    for spectrum in _spectra(panel.group):
        chosen = (slice(None), panel.blocks, BRANCH)
        values = spectrum.eigenvalues[chosen]
        known = np.isfinite(values)
        right = np.array([which == "rightmost" for which in spectrum.which])
        parts.append(
            Points(
                real=values[known].real,
                imag=values[known].imag,
                radius=np.nan_to_num(eigenvalue_errors(spectrum)[chosen][known]),
                converged=spectrum.converged[chosen][known],
                rightmost=np.broadcast_to(right, values.shape)[known],
                conditioned=known_condition(spectrum)[chosen][known],
            )
        )
    return Points(*(np.concatenate([getattr(p, n) for p in parts]) for n in _FIELDS))


_FIELDS = tuple(Points.__dataclass_fields__)


def _panels_of_one(group: Group) -> list[Panel]:
    layout, square, names = group.first.layout, _square(group), group.first.names
    found, places = [], np.flatnonzero(square)
    if places.size <= EACH:
        stages = [np.flatnonzero(square & (layout.stage == s)) for s in np.unique(layout.stage)]
        by_stage = [blocks for blocks in stages if blocks.size]
        if max(blocks.size for blocks in by_stage) <= COLUMNS:
            return [
                Panel(group, f"{names[place]}", np.array([place]), row)
                for row, blocks in enumerate(by_stage)
                for place in blocks
            ]
        return [
            Panel(group, f"{names[place]}", np.array([place]), number // COLUMNS)
            for number, place in enumerate(places)
        ]
    for row, stage in enumerate(np.unique(layout.stage[square])):
        inside = np.flatnonzero(square & (layout.stage == stage))
        for blocks in np.array_split(inside, min(PARTS_OF_STAGE, inside.size)):
            found.append(Panel(group, _title(group, int(stage), blocks), blocks, row))
    return found


def _title(group: Group, stage: int, blocks: Integers) -> str:
    """Name blocks in a row and their stage, in two lines."""
    names = first_to_last([group.first.names[place] for place in blocks])
    return f"stage {stage}\n{names}"


def _branches(groups: Sequence[Group]) -> str:
    plain = {group.first.plain for group in groups}
    return " and ".join(["branches"] * (False in plain) + ["units"] * (True in plain))


def _spectra(group: Group) -> list[Spectrum]:
    return [net.spectrum for net in group.networks if net.spectrum is not None]


def _square(group: Group) -> Flags:
    """Tell which blocks have an eigenvalue, shape (block,)."""
    found = np.zeros(len(group.first.names), dtype=np.bool_)
    for spectrum in _spectra(group):
        found |= np.isfinite(spectrum.eigenvalues[:, :, BRANCH]).any(axis=(0, 2))
    return found


def _window(points: Sequence[Points]) -> tuple[float, float, float]:
    """Give the middle and half the width of a square that holds all points, 0 included."""
    real = np.concatenate([[0.0], *(p.real for p in points)])
    imag = np.concatenate([[0.0], *(p.imag for p in points)])
    half = max(np.ptp(real) / 2, np.abs(imag).max(), 1e-12)
    return float(real.min() + np.ptp(real) / 2), 0.0, float(1.12 * half)


def _draw(axes: Axes, panel: Panel, points: Points, window: tuple[float, float, float]) -> None:
    middle, height, half = window
    axes.axvline(0, color="0.4", linewidth=0.9, zorder=1)
    axes.axhline(0, color="0.85", linewidth=0.8, zorder=1)
    centre = 0.0 if panel.group.first.plain else -1.0
    axes.add_patch(
        Circle((centre, 0), 1, fill=False, edgecolor="0.35", linestyle=GUIDE, linewidth=1.0)
    )
    for rightmost, look in ((False, LARGEST), (True, RIGHTMOST)):
        for converged in (True, False):
            chosen = (points.rightmost == rightmost) & (points.converged == converged)
            _points(axes, points, chosen, look, hollow=not converged)
    axes.set_title(panel.title, fontsize=8.5)
    axes.set_xlim(middle - half, middle + half)
    axes.set_ylim(height - half, height + half)
    axes.set_aspect("equal")
    axes.locator_params(nbins=4)
    axes.tick_params(labelsize=7.5)


def _points(axes: Axes, points: Points, chosen: Flags, look: style.Look, *, hollow: bool) -> None:
    if not chosen.any():
        return
    places = np.column_stack([points.real[chosen], points.imag[chosen]])
    across = 2 * points.radius[chosen]
    axes.add_collection(
        EllipseCollection(
            across,
            across,
            np.zeros(across.size),
            units="xy",
            offsets=places,
            offset_transform=axes.transData,
            facecolor=look.colour,
            alpha=0.2,
            linewidth=0,
            zorder=2,
        )
    )
    axes.scatter(
        points.real[chosen],
        points.imag[chosen],
        marker=look.marker,
        s=16 if hollow else 7,
        facecolor="white" if hollow else look.colour,
        edgecolor=look.colour,
        linewidth=0.8 if hollow else 0,
        alpha=1.0 if hollow else 0.6,
        zorder=4 if hollow else 3,
    )


def _told(points: Sequence[Points]) -> str:
    radius = max(float(p.radius.max()) for p in points)
    conditioned = all(p.conditioned.all() for p in points)
    what = "residual × norm × condition number"
    if not conditioned:
        what += " (the last where it was computed)"
    return f"discs: {what}, largest radius {words.small(radius)}; panels of one row have one scale"


def _handles(panels: Sequence[Panel], points: Sequence[Points]) -> list[Artist]:
    found: list[Artist] = [
        drawing.handle(LARGEST, "largest magnitude", linestyle="none"),
        drawing.handle(RIGHTMOST, "rightmost", linestyle="none"),
    ]
    if not all(p.converged.all() for p in points):
        found.append(
            drawing.handle(style.Look("0.3", "none", "o"), "not converged", markerfacecolor="white")
        )
    plain = {panel.group.first.plain for panel in panels}
    circles = {False: r"$|1+\lambda|=1$, forward Euler", True: r"$|\lambda|=1$ (plain network)"}
    label = "; ".join(circles[one] for one in sorted(plain))
    found.append(Line2D([], [], color="0.35", linestyle=GUIDE, linewidth=1.0, label=label))
    found.append(Line2D([], [], color="0.4", linewidth=0.9, label="imaginary axis"))
    return found
