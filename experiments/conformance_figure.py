"""The picture of a comparison of the two engines: violations on a plane, errors by mechanism."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.conformance import COUNTED, WITHIN, WITHIN_POINTS, WITHIN_SHARE, Cell
from experiments.figures import INK, LIMIT, LOAD, PALETTE, READY, plain, save_figure
from experiments.verdict import axis_values
from experiments.wording import plain_number
from simulator.arrays import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST_VIOLATIONS = 1e-4
"""Fewer are drawn as so many."""
_BAND, _PALE = "#d3ead3", "#e9ecef"
_NAMES = {
    "load": "load: {}",
    "law": "service times: {}",
    "slots": "slots a pod: {}",
    "start_up_seconds": "start-up: {} s",
    "level": "mean load: {} times",
    "trouble": "trouble: {}",
    "lag_seconds": "metrics' lag: {} s",
}


def draw_conformance(cells: list[Cell], title: str, path: Path) -> None:
    """Truth against batch engine, and the errors of cost and utilisation by each value of each axis, as a PNG file."""
    from matplotlib.figure import Figure

    rows = [("", ""), *axis_values(cells)]
    figure = Figure(figsize=(14, max(6.0, 1.6 + 0.34 * len(rows))), layout="constrained")
    plane, cost, cpu = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    for one in (plane, cost, cpu):
        one.spines[["top", "right"]].set_visible(False)
    _draw_plane(plane, cells)
    widest = 1.08 * max(WITHIN, *(abs(error) for cell in cells for error in cell.errors))
    for axes, measure, name in ((cost, 0, "Cost"), (cpu, 1, "CPU utilisation")):
        _draw_strips(axes, cells, rows, measure)
        axes.set(xlim=(-100 * widest, 100 * widest), xlabel="error of the batch engine, %")
        axes.set_title(f"{name}, a point a cell", loc="left")
    cost.set_yticks(range(len(rows)), [plain(row_name(axis, value)) for axis, value in rows])
    cpu.set_yticks(range(len(rows)), [""] * len(rows))
    figure.suptitle(plain(title), x=0.01, ha="left", color=INK)
    save_figure(figure, path)


def row_name(axis: str, value: object) -> str:
    """An axis' value for people; all cells where there is no axis."""
    shown = plain_number(value) if isinstance(value, float) else str(value)
    return _NAMES[axis].format(shown) if axis else "all"


def _draw_plane(axes: Axes, cells: list[Cell]) -> None:
    """Violations of the two engines over the band that is within the bounds; misses are ringed."""
    values = np.maximum([cell.violations for cell in cells], _LEAST_VIOLATIONS)
    low, high = values.min() / 1.5, values.max() * 1.5
    truth = np.geomspace(low, high, 300)
    allowed = np.maximum(WITHIN_POINTS, WITHIN_SHARE * truth)
    for begin, end, label in ((low, COUNTED[0], ""), (COUNTED[1], high, "not counted: noise, outages")):
        axes.axvspan(100 * begin, 100 * max(begin, end), color=_PALE, linewidth=0, label=label)
    axes.fill_between(
        100 * truth,
        100 * np.maximum(truth - allowed, low),
        100 * (truth + allowed),
        color=_BAND,
        linewidth=0,
        label=f"within {100 * WITHIN_POINTS:g} points or {WITHIN_SHARE:.0%}",
    )
    axes.plot(100 * truth, 100 * truth, color=LOAD, linewidth=0.8)
    for index, load in enumerate(dict.fromkeys(cell.world.load for cell in cells)):
        points = values[[cell.world.load == load for cell in cells]]
        color = PALETTE[index % len(PALETTE)]
        axes.scatter(
            100 * points[:, 0],
            100 * points[:, 1],
            s=24,
            color=color,
            alpha=0.7,
            linewidth=0,
            label=plain(load),
        )
    missed = values[[cell.is_counted and cell.violations_off > 1 for cell in cells]]
    if len(missed):
        axes.scatter(
            100 * missed[:, 0],
            100 * missed[:, 1],
            s=70,
            facecolor="none",
            edgecolor=LIMIT,
            label="out of bounds",
        )
    axes.set(xscale="log", yscale="log", xlim=(100 * low, 100 * high), ylim=(100 * low, 100 * high))
    axes.set(xlabel="on the request engine (the truth), %", ylabel="on the batch engine, %")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_title(f"Violations, at least {100 * _LEAST_VIOLATIONS:g} %", loc="left")
    axes.legend(loc="lower right", facecolor="white", edgecolor="none", framealpha=1.0)


def _draw_strips(axes: Axes, cells: list[Cell], rows: Sequence[tuple[str, object]], measure: int) -> None:
    """A strip of errors for each row; those beyond the bound, chance allowed for, are red. A line is the median."""
    axes.axvspan(-100 * WITHIN, 100 * WITHIN, color=_BAND, linewidth=0)
    axes.axvline(0, color=LOAD, linewidth=0.8)
    for place, (axis, value) in enumerate(rows):
        ours = [cell for cell in cells if not axis or getattr(cell.world, axis) == value]
        errors = np.array([cell.errors[measure] for cell in ours])
        sure = np.array([cell.sure_errors[measure] for cell in ours])
        colors = np.where(sure > WITHIN, LIMIT, READY)
        axes.scatter(100 * errors, place + _spread(len(errors)), s=9, c=colors, alpha=0.45, linewidth=0)
        axes.plot([100 * np.median(errors)] * 2, [place - 0.36, place + 0.36], color=INK, linewidth=1.6)
        if place and axis != rows[place - 1][0]:
            axes.axhline(place - 0.5, color=LOAD, linewidth=0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def _spread(count: int) -> Floats:
    """Where points of a strip lie, so that they do not hide each other: float64 ``(count,)``, -0.3 to 0.3."""
    return np.asarray(0.6 * (np.arange(count) * 0.6180339887498949 % 1.0 - 0.5))
