"""How far forecasts were off of late, at each step ahead, and the quantiles of that."""

from __future__ import annotations

import numpy as np

from agents.forecast.forecaster import HIGH, LEVELS, LOW, MEDIAN
from simulator.arrays import Floats, Ints

KEPT = 512
_REFRESHED_EVERY = 8
_RATE = 0.02
_LEAST, _MOST = 0.5, 4.0
"""Bounds of how far intervals are stretched."""
_COVERED = LEVELS[HIGH] - LEVELS[LOW]


class Scores:
    """The last scores of each step ahead; a score is above 0 where more came than was forecast.

    Many clusters have scores of their own each, ``(H, KEPT, ...)``, as soon as scores with leading axes come.
    """

    def __init__(self, steps: int) -> None:
        self._kept = np.zeros((steps, KEPT))
        self._counts = np.zeros(steps, np.int64)
        self._stretch = np.ones(steps)
        self._quantiles = np.zeros((steps, len(LEVELS)))
        self._stale = 0

    def add(self, ahead: Ints, scores: Floats) -> None:
        """Take scores ``(m, ...)`` of the steps ahead ``(m,)``; NaN where none is known."""
        if not len(ahead):
            return
        self._spread(scores.shape[1:])
        rows = ahead - 1
        self._adapt(rows, scores)
        before = self._kept[rows, (self._counts[rows] - 1) % KEPT]
        self._kept[rows, self._counts[rows] % KEPT] = np.where(np.isnan(scores), before, scores)
        self._counts[rows] += 1
        self._stale += 1

    def quantiles(self) -> Floats:
        """At LEVELS, off the median, float64 ``(..., H, Q)``; 0 at steps of which nothing is known."""
        if self._stale >= min(_REFRESHED_EVERY, 1 + int(self._counts.max()) // _REFRESHED_EVERY):
            self._refresh()
        stretch = np.moveaxis(self._stretch, 0, -1)[..., np.newaxis]
        return np.asarray(stretch * (self._quantiles - self._quantiles[..., [MEDIAN]]))

    def _refresh(self) -> None:
        filled = np.minimum(self._counts, KEPT)
        for count in np.unique(filled[filled > 0]):
            rows = np.flatnonzero(filled == count)
            found = np.quantile(self._kept[rows, :count], LEVELS, axis=1, method="weibull")
            self._quantiles[..., rows, :] = np.moveaxis(found, (1, 0), (-2, -1))
        self._stale = 0

    def _adapt(self, rows: Ints, scores: Floats) -> None:
        """Stretch the intervals of steps ahead that covered too little, shrink those that covered too much."""
        bounds = np.moveaxis(self.quantiles()[..., rows, :], -2, 0)
        missed = (scores < bounds[..., LOW]) | (scores > bounds[..., HIGH])
        off = np.where(np.isnan(scores), 0.0, missed - (1 - _COVERED))
        self._stretch[rows] = np.clip(self._stretch[rows] * np.exp(_RATE * off), _LEAST, _MOST)

    def _spread(self, lead: tuple[int, ...]) -> None:
        """Give each of many clusters scores of its own, beginning with those they share."""
        if self._kept.shape[2:] == lead:
            return
        ones = (1,) * len(lead)
        steps = len(self._kept)
        self._kept = np.broadcast_to(self._kept.reshape(steps, KEPT, *ones), (steps, KEPT, *lead)).copy()
        self._stretch = np.broadcast_to(self._stretch.reshape(steps, *ones), (steps, *lead)).copy()
        self._quantiles = np.broadcast_to(self._quantiles, (*lead, *self._quantiles.shape)).copy()
