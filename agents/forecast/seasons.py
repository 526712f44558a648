"""What the time of day and of the week leads to expect."""

from __future__ import annotations

import math

import numpy as np

from agents.forecast.forecaster import Grid
from agents.forecast.regression import regress
from agents.forecast.tape import Tape
from simulator.arrays import Floats

_DAILY_WAVES, _WEEKLY_WAVES = 6, 5
_SMOOTH_SECONDS = 1800.0


class Mean:
    """No season: the mean."""

    def fit(self, tape: Tape) -> int:
        """As Seasons.fit."""
        self._mean = float(tape.kept.mean())
        return tape.first

    def expected(self, _tape: Tape, begin: int, end: int) -> Floats:
        """As Seasons.expected."""
        return np.full(end - begin, self._mean)


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
        self._used: list[int] = []
        self._weekly = False
        self._known = False
        self._mean = 0.0

    def fit(self, tape: Tape) -> int:
        """Learn from all that the tape keeps, of one cluster; gives the first place of which it can say something."""
        values, first = tape.kept, tape.first
        self._mean = float(values.mean())
        self._weekly = len(values) >= 2 * self._week
        self._known = self._weekly or (self._day > 0 and len(values) >= 2 * self._day)
        if not self._known:
            return first
        rest = self._day or self._week
        self._used = [lag for lag in self._lags if len(values) >= lag + self._half + rest]
        begin = first + max([lag + self._half for lag in self._used], default=0)
        table = np.column_stack((self._waves(begin, len(tape)), *self._earlier(tape, begin, len(tape))))
        weights = regress(table, values[begin - first :, np.newaxis])[:, 0]
        count = table.shape[1] - len(self._used)
        self._of_waves, self._of_lags = weights[:count], weights[count:]
        return begin

    def expected(self, tape: Tape, begin: int, end: int) -> Floats:
        """What is expected at places of the series, up to the grid's steps beyond the tape: float64 ``(..., n)``."""
        if not self._known:
            return np.full(end - begin, self._mean)
        total = self._waves(begin, end) @ self._of_waves
        for weight, means in zip(self._of_lags, self._earlier(tape, begin, end), strict=True):
            total = total + weight * means
        return np.asarray(total)

    def _waves(self, begin: int, end: int) -> Floats:
        """One, sines and cosines, float64 ``(n, W)``."""
        cycles = []
        if self._day:
            cycles += [wave / self._day for wave in range(1, _DAILY_WAVES + 1) if 2 * wave < self._day]
        if self._weekly:
            cycles += [wave / self._week for wave in range(1, _WEEKLY_WAVES + 1) if 2 * wave < self._week]
        angles = 2 * np.pi * np.multiply.outer(np.arange(begin, end), cycles)
        return np.hstack((np.ones((end - begin, 1)), np.sin(angles), np.cos(angles)))

    def _earlier(self, tape: Tape, begin: int, end: int) -> list[Floats]:
        """Means around what was there each lag before, float64 ``(..., n)``."""
        width = 2 * self._half + 1
        found = []
        for lag in self._used:
            low = begin - lag - self._half - tape.first
            near = tape.kept[..., low : low + end - begin + width - 1]
            sums = np.cumsum(near, axis=-1)
            means = sums[..., width - 1 :].copy()
            means[..., 1:] -= sums[..., :-width]
            found.append(means / width)
        return found
