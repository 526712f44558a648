"""Gradient boosting on lags."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from agents.forecast.blocks import block_edges, block_means
from agents.forecast.forecaster import Grid
from agents.forecast.tape import Tape
from simulator.arrays import Floats, Ints

_KEPT_WEEKS = 4
_REACH_SECONDS = 6 * 3600.0
_SHORTEST_REACH = 8
_MOST_ROWS = 16_000
_TREES, _LEAVES, _LEAST_IN_LEAF, _LEARNING_RATE = 150, 31, 40, 0.08


class Boosting:
    """By how much the root of the rate will change, from regression trees; scikit-learn fits them.

    One ensemble of trees for all steps ahead, with absolute errors as loss. They see the last six hours in blocks that
    get longer with age, what there was and what followed a day and a week before, the time of day and of the week, and
    how far ahead it is. Fitted anew every day on the last four weeks, on at most 16,000 pairs of a moment and a step.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._day = grid.day or grid.week
        self._keep = max(_KEPT_WEEKS * grid.week, 64)
        reach = grid.steps
        self._lags = [period * math.ceil(reach / period) for period in {self._day, grid.week}]
        self._lags.sort()
        self._edges = block_edges(max(round(_REACH_SECONDS / grid.bin_seconds), _SHORTEST_REACH))

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
        roots = self._tape.kept
        steps = np.arange(1, self._grid.steps + 1)
        needed = max(int(self._edges[-1]), max(self._used, default=0)) + 1
        recent = roots[-needed:]
        moments = np.full(len(steps), len(recent) - 1)
        offset = len(self._tape) - len(recent)
        change = self._trees.predict(self._table(recent, moments, steps, offset))
        return np.asarray(np.maximum(recent[-1] + change, 0.0) ** 2)

    def _solve(self) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor

        roots, steps = self._tape.kept, self._grid.steps
        self._used = [lag for lag in self._lags if len(roots) >= lag + self._day // 2]
        first = max(self._used, default=0)
        moments = np.arange(first, len(roots) - steps)
        each = max(min(_MOST_ROWS // max(len(moments), 1), steps), 1)
        stride = max(len(moments) * each // _MOST_ROWS, 1)
        moments = np.repeat(moments[::stride], each)
        ahead = 1 + np.arange(len(moments)) * _spread(steps) % steps
        self._trees: Any = HistGradientBoostingRegressor(
            loss="absolute_error",
            max_iter=_TREES,
            max_leaf_nodes=_LEAVES,
            min_samples_leaf=_LEAST_IN_LEAF,
            learning_rate=_LEARNING_RATE,
            early_stopping=False,
            random_state=self._grid.seed,
        )
        table = self._table(roots, moments, ahead, self._tape.first)
        self._trees.fit(table, roots[moments + ahead] - roots[moments])
        self._since = 0

    def _table(self, roots: Floats, moments: Ints, ahead: Ints, offset: int) -> Floats:
        """What is known at moments, places in ``roots``, for so many steps ahead: float64 ``(n, F)``."""
        now = roots[moments]
        low = int(moments.min())
        near = block_means(roots[max(low - int(self._edges[-1]), 0) : int(moments.max()) + 1], self._edges)
        blocks = near[moments - max(low - int(self._edges[-1]), 0)]
        place = offset + moments + ahead
        columns = [now, ahead, place % self._day, place % self._grid.week]
        columns += [*(blocks[:, 1:] - now[:, np.newaxis]).T]
        for lag in self._used:
            before = roots[moments - lag]
            columns += [roots[moments + ahead - lag] - before, before - now]
        return np.column_stack(columns).astype(np.float64)


def _spread(steps: int) -> int:
    """A stride through the steps ahead that meets each of them."""
    stride = max(round(steps * 0.618), 1)
    while math.gcd(stride, steps) > 1:
        stride += 1
    return stride
