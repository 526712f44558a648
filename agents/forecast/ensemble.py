"""Several models, weighed by how far each was off of late."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from agents.forecast.forecaster import Grid, Model
from agents.forecast.outstanding import Outstanding
from simulator.arrays import Floats

_MEMORY_SECONDS = 12 * 3600.0
_LEAST_KEPT = 0.5
_POWER = 4.0
_TINY = 1e-9


class Ensemble:
    """The weighted mean of members' forecasts, weights by step ahead.

    A member's weight is its mean absolute error over about the last half day, to the power of -4.
    """

    def __init__(self, grid: Grid, members: Sequence[Callable[[Grid], Model]]) -> None:
        self._grid = grid
        self._make = tuple(members)
        self._kept = max(1.0 - grid.bin_seconds / _MEMORY_SECONDS, _LEAST_KEPT)

    def fit(self, history: Floats) -> None:
        """As Model.fit; needs what the members need."""
        self._members = [make(self._grid) for make in self._make]
        self._outstanding = Outstanding(self._grid.steps)
        self._errors = np.full((self._grid.steps, len(self._members)), _TINY)
        for member in self._members:
            member.fit(history)
        self._issue()

    def update(self, values: Floats) -> None:
        """As Model.update; takes leading axes where all members do."""
        lead = values.shape[:-1]
        if self._errors.shape[1:-1] != lead:
            old = self._errors.reshape(len(self._errors), *(1,) * len(lead), -1)
            self._errors = np.broadcast_to(old, (len(old), *lead, old.shape[-1])).copy()
        for place in range(values.shape[-1]):
            ahead, forecasts = self._outstanding.due(values.ndim)
            off = np.abs(forecasts - values[..., place, np.newaxis])
            self._errors[ahead - 1] = self._kept * self._errors[ahead - 1] + (1 - self._kept) * off
        for member in self._members:
            member.update(values)
        self._issue()

    def point(self) -> Floats:
        """As Model.point."""
        errors = np.moveaxis(self._errors, 0, -2)
        weights = (errors / errors.min(axis=-1, keepdims=True)) ** -_POWER
        return np.asarray((weights * self._paths).sum(axis=-1) / weights.sum(axis=-1))

    def _issue(self) -> None:
        self._paths = np.stack([member.point() for member in self._members], axis=-1)
        self._outstanding.issue(np.moveaxis(self._paths, -1, -2))
