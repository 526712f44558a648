"""Prophet: a trend with change points, and seasons as Fourier series."""

from __future__ import annotations

import logging

import numpy as np

from agents.forecast.forecaster import Grid
from agents.forecast.tape import Tape
from simulator.arrays import Floats

_KEPT_DAYS = 28


class Prophet:
    """Prophet on roots, fitted anew every day on the last four weeks (Taylor and Letham, 2018).

    It knows nothing of the last hours' deviation but what bends its trend, so it is a forecaster for days ahead.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._day = grid.day or grid.week
        self._keep = max(_KEPT_DAYS * grid.day, 4 * grid.week)

    def fit(self, history: Floats) -> None:
        """As Model.fit; needs two days."""
        self._tape = Tape(np.sqrt(history), self._keep)
        self._solve()

    def update(self, values: Floats) -> None:
        """As Model.update, of one cluster."""
        self._tape.extend(np.sqrt(values))
        self._since += len(values)
        if self._since >= self._day:
            self._solve()

    def point(self) -> Floats:
        """As Model.point."""
        return np.asarray(self._ahead[self._since : self._since + self._grid.steps])

    def _solve(self) -> None:
        """Fit, and forecast until the next fit and the grid's steps beyond."""
        import pandas as pd
        from prophet import Prophet as Model

        roots = self._tape.kept[-self._keep :]
        first = len(self._tape) - len(roots)
        places = np.arange(first, len(self._tape) + self._day + self._grid.steps)
        table = pd.DataFrame(
            {"ds": pd.Timestamp(0) + pd.to_timedelta(places * self._grid.bin_seconds, unit="s")}
        )
        known = table.iloc[: len(roots)].assign(y=roots)
        weekly = len(roots) >= 2 * self._grid.week
        model = Model(
            daily_seasonality=self._grid.day > 0,
            weekly_seasonality=weekly,
            yearly_seasonality=False,
            uncertainty_samples=0,
        )
        logging.getLogger("cmdstanpy").disabled = True
        model.fit(known, seed=self._grid.seed)
        ahead = model.predict(table.iloc[len(roots) :])["yhat"].to_numpy()
        self._ahead: Floats = np.maximum(ahead, 0.0) ** 2
        self._since = 0
