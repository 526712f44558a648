"""Harmonic regression with an autoregression: strong, and cheap enough for a control loop."""

from __future__ import annotations

import numpy as np

from agents.forecast.blocks import block_edges, block_means, last_means
from agents.forecast.forecaster import Grid
from agents.forecast.regression import regress
from agents.forecast.seasons import Mean, Seasons
from agents.forecast.tape import Tape
from simulator.arrays import Floats, Ints

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
    anew every six hours, on the last four weeks.

    Args:
        seasonal: if False, nothing but the mean is expected: an autoregression.
    """

    def __init__(self, grid: Grid, *, seasonal: bool = True) -> None:
        self._steps = grid.steps
        self._seasons = Seasons(grid) if seasonal else Mean()
        self._keep = max(_KEPT_WEEKS * grid.week, 64)
        self._reach = max(round(_REACH_SECONDS / grid.bin_seconds), _SHORTEST_REACH)
        self._refit = max(round(_REFIT_SECONDS / grid.bin_seconds), _SHORTEST_REFIT)

    def fit(self, history: Floats) -> None:
        """As Model.fit; needs one value."""
        roots = np.sqrt(history)
        self._tape = Tape(self._keep)
        self._tape.extend(roots[-self._keep :])
        short = max(self._reach - len(roots), 0)
        self._recent = np.concatenate((np.full(short, roots[0]), roots[-self._reach :]))
        self._solve()

    def update(self, values: Floats) -> None:
        """As Model.update; takes leading axes, to whose mean the seasons are fitted."""
        roots = np.sqrt(values)
        count = roots.shape[-1]
        self._tape.extend(roots.reshape(-1, count).mean(axis=0))
        self._recent = _shifted(self._recent, roots)
        self._since += count
        if self._since >= self._refit:
            self._solve()

    def point(self) -> Floats:
        """As Model.point."""
        now, reach = len(self._tape), int(self._edges[-1])
        places = np.arange(now - reach, now + self._steps)
        expected = self._expected(places)
        deviations = self._recent[..., -reach:] - expected[:reach]
        roots = expected[reach:] + last_means(deviations, self._edges) @ self._weights
        return np.asarray(np.maximum(roots, 0.0) ** 2)

    def _expected(self, places: Ints) -> Floats:
        return self._seasons.expected(self._tape, np.maximum(places, self._begin))

    def _solve(self) -> None:
        self._begin = begin = self._seasons.fit(self._tape)
        now = len(self._tape)
        deviations = self._tape.kept[begin - self._tape.first :] - self._expected(np.arange(begin, now))
        self._edges = block_edges(min(self._reach, max(len(deviations) // _SHORTEST_REACH, 1)))
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
    count, length = values.shape[-1], recent.shape[-1]
    known = np.broadcast_to(recent, (*values.shape[:-1], length))
    return np.concatenate((known, values), axis=-1)[..., -length:]
