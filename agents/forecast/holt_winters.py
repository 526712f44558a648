"""Holt-Winters: level, damped trend and season, smoothed exponentially."""

from __future__ import annotations

from itertools import product

import numpy as np

from agents.forecast.forecaster import Grid
from agents.forecast.seasonal_naive import season_of
from simulator.arrays import Floats

LEVELS_TRIED = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
TRENDS_TRIED = (0.0, 0.05, 0.2)
SEASONS_TRIED = (0.05, 0.15, 0.4)
_DAMPING = 0.95
_FITTED_SEASONS = 14
_FITTED_BINS = 6000
_TINY = 1e-12


class HoltWinters:
    """Additive Holt-Winters with a damped trend, on roots of rates.

    The season is a day or a week, whichever the history repeats better; without one there is level and trend alone. The
    smoothing weights are those of a grid that were least off one step and all steps ahead on the last two thirds of the
    history; they stay until it is fitted again. Source: Hyndman and Athanasopoulos, Forecasting: Principles and
    Practice, 3rd edition, section 8.3.
    """

    _weights: Floats
    _level: Floats
    _trend: Floats
    _season: Floats

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._damped = np.cumsum(_DAMPING ** np.arange(1, grid.steps + 1))

    def fit(self, history: Floats) -> None:
        """As Model.fit; needs one value."""
        season = season_of(history, self._grid)
        most = max(min(_FITTED_SEASONS * season, _FITTED_BINS), 3 * season) if season > 1 else _FITTED_BINS
        roots = np.sqrt(history[-most:])
        weights = np.array(
            list(product(LEVELS_TRIED, TRENDS_TRIED, SEASONS_TRIED if season > 1 else (0.0,)))
        ).T
        self._begin(roots, season, weights)
        best = int(np.argmin(self._try(roots, season)))
        self._weights = weights[:, best]
        self._level, self._trend, self._season = self._level[best], self._trend[best], self._season[:, best]

    def _try(self, roots: Floats, season: int) -> Floats:
        """Go through the history with all weights at once; how far off each was, one step and all steps ahead."""
        warm = season + (len(roots) - season) // 3
        far = self._grid.steps - 1
        near_off, far_off = np.zeros((2, len(self._level)))
        made: list[Floats] = []
        for place in range(season, len(roots)):
            if place >= warm:
                made.append(self._path()[:, [0, far]])
                near_off += np.abs(roots[place] - made[-1][:, 0])
                if len(made) > far:
                    far_off += np.abs(roots[place] - made[-1 - far][:, 1])
            self._step(roots[place])
        return np.asarray(near_off / max(near_off.min(), _TINY) + far_off / max(far_off.min(), _TINY))

    def update(self, values: Floats) -> None:
        """As Model.update; takes leading axes."""
        roots = np.sqrt(values)
        lead = roots.shape[:-1]
        if np.shape(self._level) != lead:
            self._level, self._trend = (np.full(lead, state) for state in (self._level, self._trend))
            season = self._season.reshape(-1, *(1,) * len(lead))
            self._season = np.broadcast_to(season, (len(season), *lead)).copy()
        for place in range(roots.shape[-1]):
            self._step(roots[..., place])

    def point(self) -> Floats:
        """As Model.point."""
        return np.asarray(np.maximum(self._path(), 0.0) ** 2)

    def _begin(self, roots: Floats, season: int, weights: Floats) -> None:
        count = weights.shape[1]
        first = roots[:season]
        self._weights = weights
        self._level = np.full(count, first.mean())
        self._trend = np.zeros(count)
        self._season = np.repeat((first - first.mean())[:, np.newaxis], count, axis=1)
        self._at = 0

    def _step(self, root: Floats) -> None:
        alpha, beta, gamma = self._weights
        usual = self._season[self._at]
        before = self._level + _DAMPING * self._trend
        off = root - usual - before
        self._level = before + alpha * off
        self._trend = _DAMPING * self._trend + alpha * beta * off
        self._season[self._at] = usual + gamma * (1 - alpha) * off
        self._at = (self._at + 1) % len(self._season)

    def _path(self) -> Floats:
        ahead = (self._at + np.arange(self._grid.steps)) % len(self._season)
        season = np.moveaxis(self._season[ahead], 0, -1)
        return np.asarray(self._level[..., np.newaxis] + self._trend[..., np.newaxis] * self._damped + season)
