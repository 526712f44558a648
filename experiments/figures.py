"""Pictures: in the terminal, as PNG files, and for the report's page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.run import READY_OF
from experiments.wording import plain_number
from simulator.files import whole_file
from simulator.plant import Floats
from simulator.trace import Trace

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.calibrate import Tried

_BLOCKS = " ▁▂▃▄▅▆▇█"
_HOUR_SECONDS = 3600.0
_MOST_POINTS = 1440
_HEADROOM, _FOOTROOM = 1.3, 1.15
INK, LOAD, READY, WANTED, LATENCY, LIMIT = "#1f2933", "#7b8794", "#0b69a3", "#62b0e8", "#8f5aa8", "#d64545"
SERVED, DROPPED, TIMED_OUT = "#3f9c35", "#d9822b", "#b58900"
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
PALETTE = ("#0b69a3", "#d9822b", "#2f8132", "#8f5aa8", "#c52707", "#627d98")


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
    axes[0].set(title=_plain(trace.name), xlabel="hours since the first bin", ylabel="requests/s")
    axes[0].set_ylim(bottom=0)
    save_figure(figure, path)


def draw_timeline(timeline: dict[str, Floats], slo_seconds: float, title: str, path: Path) -> None:
    """Load, replicas and latency of one run as a PNG file."""
    figure, axes = plain_axes(3)
    hours = timeline["time_seconds"] / _HOUR_SECONDS
    lost = outcome_lines(timeline)
    for label, values, color in (("offered", timeline["rate_rps"], LOAD), *lost):
        axes[0].plot(hours, values, color=color, linewidth=0.8, label=label)
    axes[0].set_title(_plain(title), loc="left")
    axes[0].set_ylabel("requests/s")
    axes[0].set_ylim(bottom=0)
    if lost:
        _legend(axes[0], 1 + len(lost))
    _draw_replicas(figure, axes[1], hours, replica_lines(timeline))
    axes[1].set_ylabel("replicas")
    _legend(axes[1], 6)
    _draw_latency(axes[2], hours, 1000 * timeline["latency_p95_seconds"], 1000 * slo_seconds)
    axes[2].set_xlabel("hours since the start")
    save_figure(figure, path)


def _draw_replicas(figure: Figure, axes: Axes, hours: Floats, lines: list[tuple[str, Floats, str]]) -> None:
    """A line each; those of services are set apart by a point or so, so that equal ones are all seen."""
    from matplotlib.ticker import MaxNLocator
    from matplotlib.transforms import ScaledTranslation

    highest = max(float(values.max(initial=1.0)) for _, values, _ in lines)
    axes.set_ylim(0, _HEADROOM * highest)
    for place, (label, values, color) in enumerate(lines):
        points = min(1.5, 6 / len(lines)) * ((len(lines) - 1) / 2 - place) if len(lines) > 2 else 0.0
        shifted = axes.transData + ScaledTranslation(0, points / 72, figure.dpi_scale_trans)
        axes.step(
            hours, values, where="post", color=color, linewidth=1, label=_plain(label), transform=shifted
        )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _legend(axes: Axes, columns: int) -> None:
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


def _plain(text: str) -> str:
    """The text as it is, no mathematics."""
    return text.replace("$", r"\$")


def replica_lines(timeline: dict[str, Floats]) -> list[tuple[str, Floats, str]]:
    """Label, values and colour of what is said of replicas: wanted and ready, or ready by service."""
    services = [name for name in timeline if name.startswith(READY_OF)]
    if not services:
        return [("wanted", timeline["wanted"], WANTED), ("ready", timeline["ready"], READY)]
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


def plain_axes(rows: int) -> tuple[Any, list[Axes]]:
    """A figure and its rows of axes, which share the horizontal one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.2 + 2.3 * rows), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, 1, sharex=True)))
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="#e4e7eb", linewidth=0.6)
    return figure, axes


def save_figure(figure: Any, path: Path) -> None:  # noqa: ANN401 - matplotlib is imported lazily
    """Write a figure as a PNG file; the same figure gives the same bytes."""
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=120, metadata={"Software": None})


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
    """Load, replicas and latency of one run for the report's page."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    timeline = thin(timeline)
    hours = np.round(timeline["time_seconds"] / _HOUR_SECONDS, 4)
    latency = np.round(1000 * timeline["latency_p95_seconds"], 2)
    figure = make_subplots(
        rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=[1, 1.3, 1.2]
    )
    lines = (
        (1, "offered", np.round(timeline["rate_rps"], 2), LOAD, "linear"),
        *(
            (1, label, np.round(values, 2), colour, "linear")
            for label, values, colour in outcome_lines(timeline)
        ),
        *((2, label, values.astype(int), colour, "hv") for label, values, colour in replica_lines(timeline)),
        (3, "p95 latency", latency, LATENCY, "linear"),
    )
    for row, name, values, colour, shape in lines:
        line = {"color": colour, "width": 1.2, "shape": shape}
        figure.add_trace(go.Scatter(x=hours, y=values, name=name, mode="lines", line=line), row=row, col=1)
    limit = {"color": LIMIT, "width": 1, "dash": "dash"}
    ends, level = [hours[0], hours[-1]], [1000 * slo_seconds] * 2
    figure.add_trace(go.Scatter(x=ends, y=level, name="SLO", mode="lines", line=limit), row=3, col=1)
    figure.update_yaxes(title="requests/s", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="replicas", rangemode="tozero", row=2, col=1)
    limits, ticks = latency_axis(latency, 1000 * slo_seconds)
    figure.update_yaxes(
        title="p95, ms",
        type="log",
        range=[math.log10(limit) for limit in limits],
        tickvals=ticks,
        ticktext=[plain_number(tick) for tick in ticks],
        row=3,
        col=1,
    )
    figure.update_xaxes(title="hours since the start of the judged part", row=3, col=1)
    return _styled(figure, 520)


def plane_plot(
    means: dict[str, tuple[Floats, Floats]], budget: float, hpa_points: tuple[Tried, ...]
) -> go.Figure:
    """Cost against violations: a mark for each seed and policy, HPA's front as a line.

    Args:
        means: cost, USD, and violation ratio by policy, each float64 ``(seeds,)``.
    """
    import plotly.graph_objects as go

    from experiments.estimates import front

    figure = go.Figure()
    shown = np.concatenate([*(100 * late for _, late in means.values()), [100 * budget]])
    shown = shown[shown > 0]
    lowest, highest = shown.min() / 1.5, shown.max() * 1.5
    curve = [point for point in front(hpa_points) if lowest <= 100 * point.slo_violation_ratio <= highest]
    if curve:
        figure.add_trace(
            go.Scatter(
                x=[100 * point.slo_violation_ratio for point in curve],
                y=[point.cost_usd for point in curve],
                name="HPA's front on the judged part (hindsight)",
                text=[point.spec for point in curve],
                mode="lines+markers",
                line={"color": LOAD, "width": 1},
                marker={"size": 5},
            )
        )
    for index, (name, (cost, violations)) in enumerate(means.items()):
        marker = {"size": 10, "color": PALETTE[index % len(PALETTE)], "line": {"width": 1, "color": "white"}}
        late = np.maximum(100 * violations, lowest)
        figure.add_trace(go.Scatter(x=late, y=cost, name=name, mode="markers", marker=marker))
    costs = [
        *(point.cost_usd for point in curve),
        *(float(one) for cost, _ in means.values() for one in cost),
    ]
    limit = {"color": LIMIT, "width": 1, "dash": "dash"}
    ends = [min(costs), max(costs)]
    figure.add_trace(go.Scatter(x=[100 * budget] * 2, y=ends, name="budget", mode="lines", line=limit))
    figure.update_xaxes(title="requests violating the SLO, % (log)", type="log")
    figure.update_yaxes(title="cost, USD")
    return _styled(figure, 460)


def _styled(figure: go.Figure, height: int) -> go.Figure:
    return figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 70, "r": 20, "t": 20, "b": 50},
        font={"color": INK, "family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="closest",
    )
