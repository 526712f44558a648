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
from experiments.run import FAULT_OF, NODES_OF, READY_OF, STARTING_NODES_OF, WANTED_OF
from experiments.wording import plain_number
from simulator.arrays import Floats

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HOUR_SECONDS = 3600.0
_MOST_POINTS = 1440
_HEADROOM, _FOOTROOM = 1.3, 1.15


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of a run in which something was broken, in hours."""

    name: str
    start_hours: float
    end_hours: float


@dataclass(frozen=True, slots=True)
class Line:
    """Counts of pods or nodes over time.

    Attributes:
        values: float64 ``(T,)``.
        planned: float64 ``(T,)``, drawn dotted: the pods wanted of a service, the nodes of a group that start;
            None where nothing is said of it.
    """

    label: str
    values: Floats
    color: str
    planned: Floats | None = None


def draw_timeline(timeline: dict[str, Floats], slo_seconds: float, title: str, path: Path) -> None:
    """One run as a PNG file."""
    nodes, bands = node_lines(timeline), fault_bands(timeline)
    lanes = lanes_of(bands)
    figure, every = plain_axes(5 if nodes else 4, len(lanes))
    axes = every[1:] if lanes else every
    every[0].set_title(plain(title), loc="left")
    if lanes:
        _draw_lanes(every[0], lanes, bands)
    hours = timeline["time_seconds"] / _HOUR_SECONDS
    lost = outcome_lines(timeline)
    for label, values, color in (("offered", timeline["rate_rps"], LOAD), *lost):
        axes[0].plot(hours, values, color=color, linewidth=0.8, label=label)
    axes[0].set_ylabel("requests/s")
    axes[0].set_ylim(bottom=0)
    if lost:
        legend(axes[0], 1 + len(lost))
    _draw_counts(figure, axes[1], hours, replica_lines(timeline), "wanted")
    axes[1].set_ylabel("replicas")
    if (starting := starting_of_all(timeline)) is not None:
        axes[1].set_ylim(0, max(axes[1].get_ylim()[1], _HEADROOM * float(starting.max())))
        axes[1].fill_between(
            hours, starting, step="post", color=LOAD, alpha=0.45, linewidth=0, label="starting, all"
        )
    legend(axes[1], 6)
    if nodes:
        _draw_counts(figure, axes[2], hours, nodes, "starting")
        axes[2].set_ylabel("nodes")
        legend(axes[2], 6)
    _draw_latency(axes[-2], hours, 1000 * timeline["latency_p95_seconds"], 1000 * slo_seconds)
    axes[-1].fill_between(hours, timeline["spent_usd"], step="post", color=LOAD, alpha=0.35, linewidth=0)
    axes[-1].plot(hours, timeline["spent_usd"], color=INK, linewidth=1, drawstyle="steps-post")
    axes[-1].set(ylabel="spent, USD", xlabel="hours since the start")
    axes[-1].set_ylim(bottom=0)
    for band in bands:
        for one in axes:
            one.axvspan(band.start_hours, band.end_hours, color=LIMIT, alpha=0.13, linewidth=0, zorder=0)
    save_figure(figure, path)


def _draw_lanes(axes: Axes, lanes: list[str], bands: list[Band]) -> None:
    """A lane for each fault, named at its left, with a bar where it was on; short ones are seen, too."""
    for band in bands:
        span = (band.start_hours, band.end_hours - band.start_hours)
        axes.broken_barh([span], (lanes.index(band.name) - 0.3, 0.6), color=LIMIT, linewidth=1)
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_yticks(range(len(lanes)), [plain(name) for name in lanes], fontsize=7, color=LIMIT)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelbottom=False)
    axes.grid(visible=False)


def lanes_of(bands: list[Band]) -> list[str]:
    """The names of what went on, each once, in the order of their first beginnings."""
    return list(dict.fromkeys(band.name for band in bands))


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


def node_lines(timeline: dict[str, Floats]) -> list[Line]:
    """Each node group's ready nodes, and those that start if there are any; none where pods need no nodes."""
    groups = [name.removeprefix(NODES_OF) for name in timeline if name.startswith(NODES_OF)]
    lines = []
    for place, group in enumerate(groups):
        starting = timeline.get(f"{STARTING_NODES_OF}{group}")
        planned = starting if starting is not None and starting.any() else None
        lines.append(Line(group, timeline[f"{NODES_OF}{group}"], SERVICES[place % len(SERVICES)], planned))
    return lines


def _draw_counts(figure: Figure, axes: Axes, hours: Floats, lines: list[Line], planned: str) -> None:
    """A line each; those of services are set apart by a point or so, so that equal ones are all seen.

    Args:
        planned: what dotted lines show, for the legend.
    """
    from matplotlib.ticker import MaxNLocator
    from matplotlib.transforms import ScaledTranslation

    curves = [values for line in lines for values in (line.values, line.planned) if values is not None]
    axes.set_ylim(0, _HEADROOM * max(float(values.max(initial=1.0)) for values in curves))
    dotted: dict[str, Any] = {"where": "post", "linewidth": 0.8, "linestyle": (0, (1, 1.5)), "zorder": 1.9}
    for place, line in enumerate(lines):
        points = min(1.5, 6 / len(lines)) * ((len(lines) - 1) / 2 - place) if len(lines) > 2 else 0.0
        transform = axes.transData + ScaledTranslation(0, points / 72, figure.dpi_scale_trans)
        style: dict[str, Any] = {"color": line.color, "transform": transform}
        if line.planned is not None:
            axes.step(hours, line.planned, alpha=0.7, **dotted, **style)
        axes.step(hours, line.values, where="post", linewidth=1, label=plain(line.label), **style)
    if any(line.planned is not None for line in lines):
        axes.step([], [], color=INK, label=planned, **dotted)
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


def replica_lines(timeline: dict[str, Floats]) -> list[Line]:
    """What is said of replicas: wanted, ready and starting, or ready by service above what is wanted of it."""
    services = [name.removeprefix(READY_OF) for name in timeline if name.startswith(READY_OF)]
    if not services:
        lines = [Line("wanted", timeline["wanted"], WANTED), Line("ready", timeline["ready"], READY)]
        if timeline["starting"].any():
            lines.append(Line("starting", timeline["starting"], STARTING))
        return lines
    return [
        Line(
            name,
            timeline[f"{READY_OF}{name}"],
            SERVICES[place % len(SERVICES)],
            timeline.get(f"{WANTED_OF}{name}"),
        )
        for place, name in enumerate(services)
    ]


def starting_of_all(timeline: dict[str, Floats]) -> Floats | None:
    """The starting pods of several services together; None where there are none, or one service's line."""
    several = any(name.startswith(READY_OF) for name in timeline)
    return timeline["starting"] if several and timeline["starting"].any() else None


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
    axes.set(yscale="log", ylabel="p95 latency, ms (log)", ylim=limits)
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
    bands = fault_bands(timeline)
    lanes = lanes_of(bands)
    titles = ["requests/s", "replicas", *(["nodes"] if node_lines(timeline) else [])]
    top = 1 + bool(lanes)
    rows = top + len(titles)
    heights = [*([0.06 + 0.09 * len(lanes)] if lanes else []), 1, 1.3, *[1] * (len(titles) - 2), 1.2]
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.04, row_heights=heights)
    for row, style, name, values in _page_lines(timeline):
        figure.add_trace(
            go.Scatter(x=hours, y=values, name=name, mode="lines", line=style), row=top + row, col=1
        )
    figure.add_trace(
        go.Scatter(x=hours, y=latency, name="p95 latency", line={"color": LATENCY, "width": 1.2}),
        row=rows,
        col=1,
    )
    limit = {"color": LIMIT, "width": 1, "dash": "dash"}
    ends, level = [hours[0], hours[-1]], [1000 * slo_seconds] * 2
    figure.add_trace(go.Scatter(x=ends, y=level, name="SLO", mode="lines", line=limit), row=rows, col=1)
    for row, title in enumerate(titles, start=top):
        figure.update_yaxes(title=title, rangemode="tozero", row=row, col=1)
    limits, ticks = latency_axis(latency, 1000 * slo_seconds)
    figure.update_yaxes(
        title="p95, ms (log)",
        type="log",
        range=[math.log10(limit) for limit in limits],
        tickvals=ticks,
        ticktext=[plain_number(tick) for tick in ticks],
        row=rows,
        col=1,
    )
    if lanes:
        _add_lanes(figure, lanes, bands)
    figure.update_xaxes(title="hours since the start of the judged part", row=rows, col=1)
    return styled(figure, 200 + 160 * len(titles) + 16 * len(lanes))


def _page_lines(timeline: dict[str, Floats]) -> list[tuple[int, dict[str, Any], str, Floats]]:
    """Panel from 0, style, name and values of the lines above the latency's."""
    lines: list[tuple[int, dict[str, Any], str, Floats]] = [
        (0, {"color": color}, label, np.round(values, 2))
        for label, values, color in (("offered", timeline["rate_rps"], LOAD), *outcome_lines(timeline))
    ]
    panels = [("", "wanted", replica_lines(timeline)), ("nodes ", "starting", node_lines(timeline))]
    for panel, (prefix, planned, counts) in enumerate(panels, start=1):
        for line in counts:
            style = {"color": line.color, "shape": "hv"}
            if line.planned is not None:
                name = f"{prefix}{line.label}, {planned}"
                lines.append((panel, style | {"dash": "dot", "width": 1}, name, line.planned.astype(int)))
            lines.append((panel, style, f"{prefix}{line.label}", line.values.astype(int)))
    if (starting := starting_of_all(timeline)) is not None:
        lines.append((1, {"color": LOAD, "shape": "hv"}, "starting, all", starting.astype(int)))
    return [(panel, {"width": 1.2} | style, name, values) for panel, style, name, values in lines]


def _add_lanes(figure: go.Figure, lanes: list[str], bands: list[Band]) -> None:
    """A row above the others with a lane for each fault, and bands through all of them."""
    import plotly.graph_objects as go

    for name in lanes:
        own = [band for band in bands if band.name == name]
        hours = [hour for band in own for hour in (band.start_hours, band.end_hours, None)]
        style = {"color": LIMIT, "width": 8}
        figure.add_trace(
            go.Scatter(x=hours, y=[name] * len(hours), name=name, mode="lines", line=style, showlegend=False),
            row=1,
            col=1,
        )
    for band in bands:
        figure.add_vrect(
            x0=band.start_hours,
            x1=band.end_hours,
            fillcolor=LIMIT,
            opacity=0.13,
            line_width=0,
            row="all",
            col=1,
        )
    figure.update_yaxes(
        autorange="reversed", tickfont={"size": 10, "color": LIMIT}, showgrid=False, row=1, col=1
    )
