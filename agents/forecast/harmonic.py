"""Harmonic regression with an autoregression: strong, and cheap enough for a control loop."""

from __future__ import annotations

import numpy as np

from agents.forecast.blocks import block_edges, block_means, last_means
from agents.forecast.forecaster import Grid
from agents.forecast.regression import regress
from agents.forecast.seasons import Mean, Seasons
from agents.forecast.tape import Tape
from simulator.arrays import Floats

_REACH_SECONDS = 6 * 3600.0
_SHORTEST_REACH = 8
_KEPT_WEEKS = 4
_REFIT_SECONDS = 6 * 3600.0
_SHORTEST_REFIT = 12
_ROWS_PER_WEIGHT = 4


class Harmonic:
    """What the time of day and week leads to expect, and how the deviation from that goes on.

    Roots of rates are used, whose noise hangs less on their size. Their deviations from what is expected
    (``seasons.Seasons``), in blocks that get longer with age, are regressed on for all steps ahead at once. Fitted
    anew every six hours, on the last four weeks; for many clusters the weights stay those of the history they share.

    Args:
        seasonal: if False, nothing but the mean is expected: an autoregression.
    """

    def __init__(self, grid: Grid, *, seasonal: bool = True) -> None:
        self._steps = grid.steps
        self._seasons = Seasons(grid) if seasonal else Mean()
        self._recent = np.empty(0)
        self._since = 0
        self._keep = max(_KEPT_WEEKS * grid.week, _SHORTEST_REACH)
        self._reach = max(round(_REACH_SECONDS / grid.bin_seconds), _SHORTEST_REACH)
        self._refit = max(round(_REFIT_SECONDS / grid.bin_seconds), _SHORTEST_REFIT)

    def fit(self, history: Floats) -> None:
        """As Model.fit; needs one value."""
        self._tape = Tape(np.sqrt(history), self._keep)
        self._solve()

    def update(self, values: Floats) -> None:
        """As Model.update; takes leading axes."""
        roots, begin = np.sqrt(values), len(self._tape)
        self._tape.extend(roots)
        expected = self._seasons.expected(self._tape, begin, len(self._tape))
        self._recent = _shifted(self._recent, roots - expected)
        self._since += roots.shape[-1]
        if self._since >= self._refit and roots.ndim == 1:
            self._solve()

    def point(self) -> Floats:
        """As Model.point."""
        now = len(self._tape)
        blocks = last_means(self._recent, self._edges)
        deviation = (blocks[..., np.newaxis] * self._weights).sum(axis=-2)
        expected = self._seasons.expected(self._tape, now, now + self._steps)
        return np.asarray(np.maximum(expected + deviation, 0.0) ** 2)

    def _solve(self) -> None:
        begin, now = self._seasons.fit(self._tape), len(self._tape)
        known = self._tape.kept[begin - self._tape.first :]
        deviations: Floats = known - self._seasons.expected(self._tape, begin, now)
        self._edges = block_edges(min(self._reach, max(len(deviations) // _SHORTEST_REACH, 1)))
        reach = int(self._edges[-1])
        self._recent = np.concatenate(
            (np.full(max(reach - len(known), 0), deviations[0]), deviations[-reach:])
        )
        table = block_means(deviations, self._edges)
        usable = len(deviations) - self._steps
        self._weights = np.zeros((table.shape[1], self._steps))
        self._weights[0] = 1.0
        if usable >= _ROWS_PER_WEIGHT * table.shape[1]:
            ahead = np.lib.stride_tricks.sliding_window_view(deviations[1:], self._steps)
            self._weights = regress(table[:usable], ahead)
        self._since = 0


def _shifted(recent: Floats, values: Floats) -> Floats:
    """The same number of last values, with new ones at the end."""
    length = recent.shape[-1]
    known = np.broadcast_to(recent, (*values.shape[:-1], length))
    return np.concatenate((known, values), axis=-1)[..., -length:]
