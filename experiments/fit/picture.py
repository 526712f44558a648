"""A record against its replay, as a PNG file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.figures import INK, LOAD, READY, plain_axes, save_figure
from experiments.fit.analysis import P95, Analysis
from experiments.wording import plain_number

_HOUR_SECONDS = 3600.0


def draw_fit(analysis: Analysis, title: str, path: Path) -> None:
    """CPU, p95 and replicas, recorded and replayed; what is right of the line was held out."""
    from matplotlib.ticker import MaxNLocator

    record, played, split = analysis.record, analysis.played, analysis.split
    figure, axes = plain_axes(3)
    hours = (record.times_seconds - record.start_seconds) / _HOUR_SECONDS
    model_replicas = np.append(np.full(split, np.nan), analysis.replicas)
    rows = (
        ("CPU, cores", record.cpu_cores, played.cpu_cores),
        ("p95 latency, ms", 1000 * record.latency_p95_seconds, 1000 * played.latencies[P95]),
        ("replicas", record.replicas, model_replicas),
    )
    for one, (label, recorded, model) in zip(axes, rows, strict=True):
        one.plot(hours, recorded, color=LOAD, linewidth=1.4, label="record")
        one.plot(hours, model, color=READY, linewidth=0.9, label="model")
        one.axvline(hours[split], color=INK, linewidth=0.8, linestyle=":")
        one.set_ylabel(label)
        if not label.startswith("p95"):
            one.set_ylim(bottom=0)
    axes[1].set_yscale("log")
    low, high = axes[1].get_ylim()
    ticks = [
        step * 10.0**decade
        for decade in range(-3, 7)
        for step in (1, 1.5, 2, 3, 5, 7)
        if low <= step * 10.0**decade <= high
    ]
    axes[1].set_yticks(ticks, [plain_number(tick, 4) for tick in ticks])
    axes[1].set_yticks([], minor=True)
    axes[0].set_title(title.replace("$", r"\$"), loc="left")
    axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderaxespad=0)
    axes[0].annotate(
        "held out",
        (hours[split], 1),
        (4, -4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        va="top",
        color=INK,
    )
    axes[2].yaxis.set_major_locator(MaxNLocator(integer=True))
    axes[2].set_xlabel("hours since the start of the record")
    save_figure(figure, path)
