"""The picture of a back-test: the actual load, and what had been forecast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agents.forecast.backtest import Forecasts
from agents.forecast.forecaster import HIGH, LOW, MEDIAN
from agents.forecast.registry import REFERENCE
from experiments.figures import INK, LOAD, READY, WANTED, legend, plain, plain_axes, save_figure
from experiments.wording import duration

if TYPE_CHECKING:
    from experiments.forecast_backtest import Plan

_SHOWN_SECONDS = 3 * 86_400.0
_LEAST_BINS = 48


def draw_forecasts(plan: Plan, found: dict[str, Forecasts], shown: str, path: Path) -> None:
    """The last three days of the judged part, a row a horizon, with one forecaster's median and 90 % interval."""
    backtest, width = plan.backtest, plan.grid.bin_seconds
    figure, rows = plain_axes(len(backtest.horizons))
    first = max(len(backtest.judged) - max(int(_SHOWN_SECONDS / width), _LEAST_BINS), 0)
    top = 0.0
    for place, (horizon, axes) in enumerate(zip(backtest.horizons, rows, strict=True)):
        actual, quantiles = backtest.pairs(found[shown], place)
        _, naive = backtest.pairs(found[REFERENCE], place)
        begin = min(first, len(actual) - 1)
        hours = (np.arange(begin, len(actual)) + horizon - 1) * width / 3600
        low, middle, high = quantiles[begin:, [LOW, MEDIAN, HIGH]].T
        axes.fill_between(hours, low, high, color=WANTED, alpha=0.35, linewidth=0, label="90 % interval")
        if shown != REFERENCE:
            axes.plot(hours, naive[begin:, MEDIAN], color=LOAD, linewidth=0.8, label=REFERENCE, zorder=2)
        axes.plot(hours, actual[begin:], color=INK, linewidth=1, label="actual", zorder=3)
        axes.plot(hours, middle, color=READY, linewidth=1, label=shown, zorder=4)
        axes.set_ylabel("requests/s")
        axes.set_title(plain(f"{plan.trace.name}, {duration(horizon * width)} ahead"), loc="left")
        top = max(top, float(np.nanmax(actual[begin:])))
    for axes in rows:
        axes.set_ylim(0, 1.3 * top or 1)
        axes.margins(x=0.005)
    legend(rows[0], 4)
    rows[-1].set_xlabel("hours since the judged part's start")
    save_figure(figure, path)
