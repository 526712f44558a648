"""Forecasts as they would have been made, from one moment after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agents.forecast.forecaster import LEVELS, Forecaster
from simulator.arrays import Floats

Report = Callable[[float], None]
_REPORTS = 100


@dataclass(frozen=True, slots=True)
class Backtest:
    """What is forecast.

    Attributes:
        rates: float64 ``(T,)``; requests/s on an even grid, NaN where there is a gap.
        begin: the first bin that is judged; those before it are the history.
        horizons: bins ahead that are judged, ascending.
    """

    rates: Floats
    begin: int
    horizons: tuple[int, ...]

    @property
    def history(self) -> Floats:
        """What is known before the first forecast."""
        return self.rates[: self.begin]

    @property
    def judged(self) -> Floats:
        """What is forecast."""
        return self.rates[self.begin :]

    def pairs(self, forecasts: Forecasts, place: int) -> tuple[Floats, Floats]:
        """What came, ``(n,)``, and what was forecast for it, ``(n, Q)``, at one of the horizons."""
        ahead = self.horizons[place] - 1
        actual = self.judged[ahead:]
        return actual, forecasts.quantiles[: len(actual), place]


@dataclass(frozen=True, slots=True)
class Forecasts:
    """What came out of it.

    Attributes:
        quantiles: float64 ``(n, K, Q)``; forecast before each judged bin, for each horizon.
        seconds: float64 ``(n,)``; that the forecast and the update after it took.
        fit_seconds: that fitting took before the first one.
        note: the forecaster's, at the end.
    """

    quantiles: Floats
    seconds: Floats
    fit_seconds: float
    note: str


def roll(
    backtest: Backtest,
    forecaster: Forecaster,
    clock: Callable[[], float],
    report: Report | None = None,
) -> Forecasts:
    """Fit to the history, then forecast, take in the next bin, and forecast again (a rolling origin).

    Args:
        clock: seconds, for how long it took.
        report: called now and then with the share that is done.
    """
    steps = [horizon - 1 for horizon in backtest.horizons]
    judged = backtest.judged
    quantiles = np.full((len(judged), len(steps), len(LEVELS)), np.nan)
    seconds = np.zeros(len(judged))
    begun = clock()
    forecaster.fit(backtest.history)
    fit_seconds = clock() - begun
    every = max(len(judged) // _REPORTS, 1)
    for place in range(len(judged)):
        begun = clock()
        quantiles[place] = forecaster.predict(backtest.horizons[-1])[steps]
        forecaster.update(judged[place : place + 1])
        seconds[place] = clock() - begun
        if report and (place + 1) % every == 0:
            report((place + 1) / len(judged))
    return Forecasts(quantiles, seconds, fit_seconds, forecaster.note)
