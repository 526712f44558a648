"""Pictures: in the terminal, as PNG files, and for the report's page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.wording import plain_number
from simulator.arrays import Floats
from simulator.files import whole_file
from simulator.trace import Trace

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes

    from experiments.tried import Tried

_BLOCKS = " ▁▂▃▄▅▆▇█"
_HOUR_SECONDS = 3600.0
_ROW_INCHES, _LANE_INCHES = 2.3, 0.14
INK, LOAD, READY, WANTED, LATENCY, LIMIT = "#1f2933", "#7b8794", "#0b69a3", "#62b0e8", "#8f5aa8", "#d64545"
SERVED, DROPPED, TIMED_OUT, STARTING = "#3f9c35", "#d9822b", "#b58900", "#d9822b"
SERVICES = (
    READY,
    "#d9822b",
    "#3f9c35",
    "#6d4fc2",
    "#c4457a",
    "#7a6a53",
    "#2aa198",
    WANTED,
    "#b58900",
    INK,
    LOAD,
)
PALE = "#b8c4ce"
HPA_FRONT, ORACLE_FRONT = "HPA's front on the judged part (hindsight)", "oracle's front, first seed"
BOUND = "lower bound in the oracle's model, first seed"
PALETTE = ("#0b69a3", "#d9822b", "#2f8132", "#8f5aa8", "#c52707", "#627d98")
MARKS = {"o": "circle", "s": "square", "D": "diamond", "^": "triangle-up", "v": "triangle-down", "P": "cross"}
"""What pictures and pages call the same mark."""
_MOST_COLUMNS = 3


def terminal_chart(values: Floats, width: int = 66, height: int = 8) -> str:
    """Values as a chart of block characters: the highest of each column, on an axis from 0."""
    columns = np.array([np.max(part) for part in np.array_split(values, min(width, len(values)))])
    top = float(max(columns.max(), 0.0))
    shares = columns / top if top else np.zeros_like(columns)
    highest = plain_number(top, 4) if top else ""
    lines = []
    for row in range(height, 0, -1):
        levels = shares * height - (row - 1)
        cells = "".join(_BLOCKS[int(np.clip(round(level * 8), 0, 8))] for level in levels)
        label = f"{highest:>10} " if row == height else f"{0:>10} " if row == 1 else " " * 11
        lines.append(f"{label}┤{cells}")
    return "\n".join(lines)


def draw_trace(trace: Trace, path: Path) -> None:
    """A trace as a PNG file."""
    figure, axes = plain_axes(1)
    hours = np.arange(len(trace.requests)) * trace.bin_seconds / _HOUR_SECONDS
    axes[0].plot(hours, trace.rate_rps, color=READY, linewidth=0.8)
    axes[0].set(title=plain(trace.name), xlabel="hours since the first bin", ylabel="requests/s")
    axes[0].set_ylim(bottom=0)
    save_figure(figure, path)


def draw_traces(traces: list[tuple[str, Trace]], path: Path) -> None:
    """Traces one above the other, each on axes of its own with its title, as a PNG file."""
    figure, axes = plain_axes(len(traces))
    top = max(float(trace.rate_rps.max()) for _, trace in traces)
    for place, (title, trace) in zip(axes, traces, strict=True):
        hours = np.arange(len(trace.requests)) * trace.bin_seconds / _HOUR_SECONDS
        place.plot(hours, trace.rate_rps, color=READY, linewidth=0.8)
        place.set_title(plain(title), loc="left")
        place.set_ylabel("requests/s")
        place.set_ylim(0, 1.05 * top)
    axes[-1].set_xlabel("hours since the first bin")
    save_figure(figure, path)


def legend(axes: Axes, columns: int) -> None:
    """A legend above the right end of the axes."""
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0,
        borderpad=0,
        ncols=columns,
        frameon=False,
        columnspacing=1.2,
        handlelength=1.4,
    )


def plain(text: str) -> str:
    """The text as it is, no mathematics."""
    return text.replace("$", r"\$")


def plain_axes(rows: int, lanes: int = 0) -> tuple[Any, list[Axes]]:
    """A figure and its rows of axes, which share the horizontal one.

    Args:
        lanes: where there are any, a strip that is high enough for so many comes before the rows.
    """
    from matplotlib.figure import Figure

    strip = [_LANE_INCHES * lanes] if lanes else []
    heights = [*strip, *[_ROW_INCHES] * rows]
    figure = Figure(figsize=(11, 1.2 + sum(heights)), layout="constrained")
    shared = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    axes = list(np.atleast_1d(shared))
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="#e4e7eb", linewidth=0.6)
    return figure, axes


def save_figure(figure: Any, path: Path) -> None:  # noqa: ANN401 - matplotlib is imported lazily
    """Write a figure as a PNG file; the same figure gives the same bytes."""
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=120, metadata={"Software": None})


def plane_plot(
    means: dict[str, tuple[Floats, Floats]],
    budget: float,
    hpa_points: tuple[Tried, ...],
    oracle_points: tuple[Tried, ...] = (),
    bound_curve: tuple[Tried, ...] = (),
) -> go.Figure:
    """Cost against violations: a mark for each seed and policy; fronts of HPA and oracle, and its bound, as lines.

    Args:
        means: cost, USD, and violation ratio by policy, each float64 ``(seeds,)``.
    """
    import plotly.graph_objects as go

    from experiments.tried import front

    figure = go.Figure()
    lowest, highest = _violations_shown(means, budget, oracle_points)
    costs = [float(one) for cost, _ in means.values() for one in cost]
    fronts = (
        (HPA_FRONT, hpa_points, {"color": LOAD, "width": 1}),
        (ORACLE_FRONT, oracle_points, {"color": INK, "width": 1, "dash": "dot"}),
        (BOUND, bound_curve, {"color": PALE, "width": 2}),
    )
    for name, points, line in fronts:
        curve = [point for point in front(points) if lowest <= 100 * point.slo_violation_ratio <= highest]
        costs += [point.cost_usd for point in curve]
        if curve:
            figure.add_trace(
                go.Scatter(
                    x=[100 * point.slo_violation_ratio for point in curve],
                    y=[point.cost_usd for point in curve],
                    name=name,
                    text=[point.spec for point in curve],
                    mode="lines" if points is bound_curve else "lines+markers",
                    line=line,
                    marker={"size": 5},
                )
            )
    for index, (name, (cost, violations)) in enumerate(means.items()):
        color, mark = mark_of(index)
        marker = {"size": 10, "color": color, "symbol": MARKS[mark], "line": {"width": 1, "color": "white"}}
        late = np.maximum(100 * violations, lowest)
        figure.add_trace(go.Scatter(x=late, y=cost, name=name, mode="markers", marker=marker))
    limit = {"color": LIMIT, "width": 1, "dash": "dash"}
    ends = [min(costs), max(costs)]
    figure.add_trace(go.Scatter(x=[100 * budget] * 2, y=ends, name=_budget(budget), mode="lines", line=limit))
    ticks = _violation_ticks(lowest, highest)
    figure.update_xaxes(
        title="requests violating the SLO, % (log)",
        type="log",
        tickvals=ticks,
        ticktext=[plain_number(tick, 2) for tick in ticks],
    )
    figure.update_yaxes(title="cost, USD")
    return styled(figure, 460)


def _budget(budget: float) -> str:
    return f"budget, {plain_number(100 * budget, 3)} %"


def _violations_shown(
    means: dict[str, tuple[Floats, Floats]], budget: float, oracle_points: tuple[Tried, ...]
) -> tuple[float, float]:
    """The lowest and the highest violations on a plane, %: those of seeds and budget, and the oracle's lowest."""
    fewest = [point.slo_violation_ratio for point in oracle_points]
    most = np.concatenate([*(late for _, late in means.values()), [budget]])
    every = np.concatenate([most, fewest])
    return float(100 * every[every > 0].min() / 1.2), float(100 * np.nanmax(most) * 1.2)


def _violation_ticks(lowest: float, highest: float) -> list[float]:
    """Places of labels on a logarithmic axis, fewer in a decade where there is more than one."""
    steps = (
        (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0) if highest < 10 * lowest else (1.0, 2.0, 3.0, 5.0)
    )
    decades = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    return [step * 10.0**decade for decade in decades for step in steps]


def mark_of(place: int) -> tuple[str, str]:
    """Colour and mark of a policy by its place: no two are alike among as many as there are pairs."""
    turn, color = divmod(place, len(PALETTE))
    return PALETTE[color], list(MARKS)[(place + turn) % len(MARKS)]


def draw_plane(
    means: dict[str, tuple[Floats, Floats]],
    budget: float,
    fronts: tuple[tuple[Tried, ...], tuple[Tried, ...], tuple[Tried, ...]],
    title: str,
    path: Path,
) -> None:
    """Cost against violations as a PNG file.

    Args:
        means: cost, USD, and violation ratio by policy, each float64 ``(seeds,)``.
        fronts: points of HPA's front, of the oracle's, and of its bound; each may be empty.
    """
    from matplotlib.figure import Figure

    from experiments.tried import front

    rows = math.ceil((len(means) + len(fronts) + 1) / _MOST_COLUMNS)
    figure = Figure(figsize=(9, 5 + 0.22 * rows), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    lowest, highest = _violations_shown(means, budget, fronts[1])
    styles = ((HPA_FRONT, LOAD, "-", "."), (ORACLE_FRONT, INK, ":", "."), (BOUND, PALE, "-", ""))
    for points, (name, color, line, marker) in zip(fronts, styles, strict=True):
        curve = [point for point in front(points) if lowest <= 100 * point.slo_violation_ratio <= highest]
        if curve:
            places = [100 * one.slo_violation_ratio for one in curve], [one.cost_usd for one in curve]
            axes.plot(*places, color=color, linestyle=line, marker=marker, linewidth=1.2, label=name)
    for index, (name, (cost, late)) in enumerate(means.items()):
        color, mark = mark_of(index)
        shown = np.maximum(100 * late, lowest)
        axes.scatter(shown, cost, s=45, color=color, marker=mark, linewidth=0, label=plain(name), zorder=3)
    axes.axvline(100 * budget, color=LIMIT, linewidth=1, linestyle="--", label=_budget(budget))
    axes.set(xscale="log", xlabel="requests violating the SLO, % (log)", ylabel="cost, USD")
    axes.set_xlim(lowest, highest)
    axes.set_ylim(bottom=0)
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(lambda value, _: plain_number(value, 2))
    axes.tick_params(axis="x", which="both", length=3)
    axes.set_title(plain(title), loc="left")
    figure.legend(loc="outside lower center", ncols=_MOST_COLUMNS, frameon=False)
    save_figure(figure, path)


def styled(figure: go.Figure, height: int) -> go.Figure:
    """With the report's fonts, margins and legend."""
    return figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 70, "r": 20, "t": 20, "b": 50},
        font={"color": INK, "family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="closest",
    )
