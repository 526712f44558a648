"""What the time of day and of the week leads to expect."""

from __future__ import annotations

import math

import numpy as np

from agents.forecast.forecaster import Grid
from agents.forecast.regression import regress
from agents.forecast.tape import Tape
from simulator.arrays import Floats, Ints

_DAILY_WAVES, _WEEKLY_WAVES = 6, 5
_SMOOTH_SECONDS = 1800.0


class Mean:
    """No season: the mean."""

    def fit(self, tape: Tape) -> int:
        """As Seasons.fit."""
        self._mean = float(tape.kept.mean())
        return tape.first

    def expected(self, _tape: Tape, places: Ints) -> Floats:
        """As Seasons.expected."""
        return np.full(len(places), self._mean)


class Seasons:
    """Waves of the day and the week, and what was there days and a week before, smoothed over half an hour.

    Days need two days of values, weeks need two weeks; before that, all that is expected is the mean.
    """

    def __init__(self, grid: Grid) -> None:
        self._day, self._week = grid.day, grid.week
        self._half = int(_SMOOTH_SECONDS / grid.bin_seconds / 2)
        reach = grid.steps + self._half
        self._lags: list[int] = []
        if grid.day:
            first = grid.day * math.ceil(reach / grid.day)
            self._lags += [first, first + grid.day]
        self._lags.append(grid.week * math.ceil(reach / grid.week))
        self._weights: Floats | None = None
        self._used: list[int] = []
        self._weekly = False
        self._mean = 0.0

    def fit(self, tape: Tape) -> int:
        """Learn from all that the tape keeps; gives the first place of which it can tell what is expected."""
        values, first = tape.kept, tape.first
        self._mean, self._weights = float(values.mean()), None
        self._weekly = len(values) >= 2 * self._week
        if not self._weekly and not (self._day and len(values) >= 2 * self._day):
            return first
        rest = self._day or self._week
        self._used = [lag for lag in self._lags if len(values) >= lag + self._half + rest]
        begin = first + max([lag + self._half for lag in self._used], default=0)
        places = np.arange(begin, len(tape))
        self._weights = regress(self._table(tape, places), values[begin - first :, np.newaxis])[:, 0]
        return begin

    def expected(self, tape: Tape, places: Ints) -> Floats:
        """What is expected at places of the series, at most the grid's steps ahead of the tape: float64 ``(n,)``."""
        if self._weights is None:
            return np.full(len(places), self._mean)
        return np.asarray(self._table(tape, places) @ self._weights)

    def _table(self, tape: Tape, places: Ints) -> Floats:
        cycles = []
        if self._day:
            cycles += [wave / self._day for wave in range(1, _DAILY_WAVES + 1) if 2 * wave < self._day]
        if self._weekly:
            cycles += [wave / self._week for wave in range(1, _WEEKLY_WAVES + 1) if 2 * wave < self._week]
        angles = 2 * np.pi * np.multiply.outer(places, cycles)
        sums = np.concatenate(([0.0], np.cumsum(tape.kept)))
        earlier = [places - tape.first - lag for lag in self._used]
        means = [(sums[at + self._half + 1] - sums[at - self._half]) / (2 * self._half + 1) for at in earlier]
        columns = [
            np.ones((len(places), 1)),
            np.sin(angles),
            np.cos(angles),
            *(mean[:, None] for mean in means),
        ]
        return np.hstack(columns)
