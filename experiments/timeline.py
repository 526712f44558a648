"""The course of a run as a picture: load, replicas, nodes, latency, money, and what broke when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures import (
    DROPPED,
    INK,
    LATENCY,
    LIMIT,
    LOAD,
    READY,
    SERVED,
    SERVICES,
    STARTING,
    TIMED_OUT,
    WANTED,
    legend,
    plain,
    plain_axes,
    save_figure,
    styled,
)
from experiments.run import FAULT_OF, NODES_OF, READY_OF
from experiments.wording import plain_number
from simulator.arrays import Floats

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HOUR_SECONDS = 3600.0
_MOST_POINTS = 1440
_HEADROOM, _FOOTROOM = 1.3, 1.15
_MOST_NAMED = 12
"""More bands than this are told apart by the table of faults alone."""


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of a run in which something was broken, in hours."""

    name: str
    start_hours: float
    end_hours: float


def draw_timeline(timeline: dict[str, Floats], slo_seconds: float, title: str, path: Path) -> None:
    """One run as a PNG file."""
    nodes = node_lines(timeline)
    figure, axes = plain_axes(5 if nodes else 4)
    hours = timeline["time_seconds"] / _HOUR_SECONDS
    lost = outcome_lines(timeline)
    for label, values, color in (("offered", timeline["rate_rps"], LOAD), *lost):
        axes[0].plot(hours, values, color=color, linewidth=0.8, label=label)
    axes[0].set_title(plain(title), loc="left", pad=18 if fault_bands(timeline) else 6)
    axes[0].set_ylabel("requests/s")
    axes[0].set_ylim(bottom=0)
    if lost:
        legend(axes[0], 1 + len(lost))
    panels = [("replicas", replica_lines(timeline)), *([("nodes", nodes)] if nodes else [])]
    for place, (name, lines) in enumerate(panels, start=1):
        _draw_counts(figure, axes[place], hours, lines)
        axes[place].set_ylabel(name)
        legend(axes[place], 6)
    _draw_latency(axes[-2], hours, 1000 * timeline["latency_p95_seconds"], 1000 * slo_seconds)
    axes[-1].fill_between(hours, timeline["spent_usd"], step="post", color=LOAD, alpha=0.35, linewidth=0)
    axes[-1].plot(hours, timeline["spent_usd"], color=INK, linewidth=1, drawstyle="steps-post")
    axes[-1].set(ylabel="spent, USD", xlabel="hours since the start")
    axes[-1].set_ylim(bottom=0)
    _draw_bands(axes, fault_bands(timeline))
    save_figure(figure, path)


def _draw_bands(axes: list[Axes], bands: list[Band]) -> None:
    """Faults as stripes through all panels, named above the first."""
    for place, band in enumerate(bands):
        for one in axes:
            one.axvspan(band.start_hours, band.end_hours, color=LIMIT, alpha=0.13, linewidth=0, zorder=0)
        if len(bands) <= _MOST_NAMED:
            axes[0].annotate(
                plain(band.name),
                (band.start_hours, 1),
                (0, 2 + 9 * (place % 2)),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                fontsize=7,
                color=LIMIT,
                annotation_clip=False,
            )


def fault_bands(timeline: dict[str, Floats]) -> list[Band]:
    """The stretches in which each fault of a run went on, in the order of their beginnings."""
    seconds = timeline["time_seconds"]
    if len(seconds) < 2:
        return []
    ends = np.append(seconds[1:], 2 * seconds[-1] - seconds[-2]) / _HOUR_SECONDS
    bands = []
    for name, values in timeline.items():
        if not name.startswith(FAULT_OF):
            continue
        edges = np.flatnonzero(np.diff(np.pad(values > 0, 1).astype(int)))
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            start = float(seconds[first]) / _HOUR_SECONDS
            bands.append(Band(name.removeprefix(FAULT_OF), start, float(ends[last - 1])))
    return sorted(bands, key=lambda band: band.start_hours)


def node_lines(timeline: dict[str, Floats]) -> list[tuple[str, Floats, str]]:
    """Label, values and colour of each node group's ready nodes; none where pods need no nodes."""
    groups = [name for name in timeline if name.startswith(NODES_OF)]
    return [
        (name.removeprefix(NODES_OF), timeline[name], SERVICES[place % len(SERVICES)])
        for place, name in enumerate(groups)
    ]


def _draw_counts(figure: Figure, axes: Axes, hours: Floats, lines: list[tuple[str, Floats, str]]) -> None:
    """A line each; those of services are set apart by a point or so, so that equal ones are all seen."""
    from matplotlib.ticker import MaxNLocator
    from matplotlib.transforms import ScaledTranslation

    highest = max(float(values.max(initial=1.0)) for _, values, _ in lines)
    axes.set_ylim(0, _HEADROOM * highest)
    for place, (label, values, color) in enumerate(lines):
        points = min(1.5, 6 / len(lines)) * ((len(lines) - 1) / 2 - place) if len(lines) > 2 else 0.0
        shifted = axes.transData + ScaledTranslation(0, points / 72, figure.dpi_scale_trans)
        axes.step(
            hours, values, where="post", color=color, linewidth=1, label=plain(label), transform=shifted
        )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def outcome_lines(timeline: dict[str, Floats]) -> list[tuple[str, Floats, str]]:
    """Label, values and colour of what became of requests; none where all were served."""
    lines = [
        ("served", timeline["served_rps"], SERVED),
        ("dropped", timeline["dropped_rps"], DROPPED),
        ("timed out", timeline["timed_out_rps"], TIMED_OUT),
        ("failed", timeline["failed_rps"], LIMIT),
    ]
    lost = [line for line in lines[1:] if line[1].any()]
    return [lines[0], *lost] if lost else []


def replica_lines(timeline: dict[str, Floats]) -> list[tuple[str, Floats, str]]:
    """Label, values and colour of what is said of replicas: wanted, ready and starting, or ready by service."""
    services = [name for name in timeline if name.startswith(READY_OF)]
    if not services:
        lines = [("wanted", timeline["wanted"], WANTED), ("ready", timeline["ready"], READY)]
        if timeline["starting"].any():
            lines.append(("starting", timeline["starting"], STARTING))
        return lines
    return [
        (name.removeprefix(READY_OF), timeline[name], SERVICES[place % len(SERVICES)])
        for place, name in enumerate(services)
    ]


def _draw_latency(axes: Axes, hours: Floats, latency_ms: Floats, slo_ms: float) -> None:
    limits, ticks = latency_axis(latency_ms, slo_ms)
    axes.plot(hours, latency_ms, color=LATENCY, linewidth=0.8)
    finite = np.pad(np.isfinite(latency_ms), 1)
    alone = finite[1:-1] & ~finite[:-2] & ~finite[2:]
    axes.plot(hours[alone], latency_ms[alone], color=LATENCY, linestyle="", marker=".", markersize=3)
    axes.axhline(slo_ms, color=LIMIT, linewidth=1, linestyle="--")
    axes.annotate(
        "SLO",
        (1, slo_ms),
        (-4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=LIMIT,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
    )
    axes.set(yscale="log", ylabel="p95 latency, ms", ylim=limits)
    axes.set_yticks(ticks, [plain_number(tick) for tick in ticks])
    axes.set_yticks([], minor=True)


def latency_axis(latency_ms: Floats, slo_ms: float) -> tuple[tuple[float, float], list[float]]:
    """Limits and ticks of a logarithmic axis on which data and SLO are seen.

    Returns:
        Lowest and highest value, ms, and the ticks between them: 1, 3, 10, 30 and so on. The lowest tick
        is the one below the data, so that there is always one.
    """
    seen = np.append(latency_ms[np.isfinite(latency_ms) & (latency_ms > 0)], slo_ms)
    lowest, highest = float(seen.min()), _HEADROOM * float(seen.max())
    decades = range(math.floor(math.log10(lowest)) - 1, math.ceil(math.log10(highest)) + 1)
    steps = [step * 10.0**decade for decade in decades for step in (1, 3)]
    begin = max(step for step in steps if step <= lowest)
    return (begin / _FOOTROOM, highest), [step for step in steps if begin <= step <= highest]


def thin(timeline: dict[str, Floats]) -> dict[str, Floats]:
    """At most 1,440 points: the mean of each stretch for the load, its highest value for the rest."""
    count = len(timeline["time_seconds"])
    if count <= _MOST_POINTS:
        return timeline
    starts = np.arange(0, count, -(-count // _MOST_POINTS))
    sizes = np.diff(np.append(starts, count))
    thinned = {name: np.fmax.reduceat(values, starts) for name, values in timeline.items()}
    thinned["time_seconds"] = timeline["time_seconds"][starts]
    rates = {name: values for name, values in timeline.items() if name.endswith("_rps")}
    thinned |= {name: np.add.reduceat(values, starts) / sizes for name, values in rates.items()}
    return thinned


def timeline_plot(timeline: dict[str, Floats], slo_seconds: float) -> go.Figure:
    """One run for the report's page."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    timeline = thin(timeline)
    hours = np.round(timeline["time_seconds"] / _HOUR_SECONDS, 4)
    latency = np.round(1000 * timeline["latency_p95_seconds"], 2)
    nodes = node_lines(timeline)
    rows = 4 if nodes else 3
    heights = [1, 1.3, 1, 1.2] if nodes else [1, 1.3, 1.2]
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=heights)
    lines = (
        (1, "offered", np.round(timeline["rate_rps"], 2), LOAD, "linear"),
        *(
            (1, label, np.round(values, 2), colour, "linear")
            for label, values, colour in outcome_lines(timeline)
        ),
        *((2, label, values.astype(int), colour, "hv") for label, values, colour in replica_lines(timeline)),
        *((3, f"nodes {label}", values.astype(int), colour, "hv") for label, values, colour in nodes),
        (rows, "p95 latency", latency, LATENCY, "linear"),
    )
    for row, name, values, colour, shape in lines:
        line = {"color": colour, "width": 1.2, "shape": shape}
        figure.add_trace(go.Scatter(x=hours, y=values, name=name, mode="lines", line=line), row=row, col=1)
    limit = {"color": LIMIT, "width": 1, "dash": "dash"}
    ends, level = [hours[0], hours[-1]], [1000 * slo_seconds] * 2
    figure.add_trace(go.Scatter(x=ends, y=level, name="SLO", mode="lines", line=limit), row=rows, col=1)
    for title, row in (("requests/s", 1), ("replicas", 2), *((("nodes", 3),) if nodes else ())):
        figure.update_yaxes(title=title, rangemode="tozero", row=row, col=1)
    limits, ticks = latency_axis(latency, 1000 * slo_seconds)
    figure.update_yaxes(
        title="p95, ms",
        type="log",
        range=[math.log10(limit) for limit in limits],
        tickvals=ticks,
        ticktext=[plain_number(tick) for tick in ticks],
        row=rows,
        col=1,
    )
    bands = fault_bands(timeline)
    for band in bands:
        named: dict[str, Any] = {"annotation_text": band.name} if len(bands) <= _MOST_NAMED else {}
        figure.add_vrect(
            x0=band.start_hours, x1=band.end_hours, fillcolor=LIMIT, opacity=0.13, line_width=0, **named
        )
    figure.update_xaxes(title="hours since the start of the judged part", row=rows, col=1)
    return styled(figure, 520 if rows == 3 else 680)
