"""Forecasts whose outcome is not known yet."""

from __future__ import annotations

import numpy as np

from simulator.arrays import Floats, Ints


class Outstanding:
    """The forecasts of the last origins, which are held against values as these come.

    Args:
        steps: how many bins ahead a forecast reaches; as many origins are kept.
    """

    def __init__(self, steps: int) -> None:
        self._origins = np.full(steps, -steps - 1)
        self._paths: Floats | None = None
        self._time = 0
        self._next = 0

    def issue(self, path: Floats) -> None:
        """Take a forecast made now, float64 ``(..., H)``."""
        if self._paths is None or self._paths.shape[1:] != path.shape:
            kept = np.zeros((len(self._origins), *path.shape))
            if self._paths is not None:
                kept[:] = self._paths.reshape(len(kept), *(1,) * (path.ndim - 1), path.shape[-1])
            self._paths = kept
        self._paths[self._next] = path
        self._origins[self._next] = self._time
        self._next = (self._next + 1) % len(self._origins)

    def due(self) -> tuple[Ints, Floats]:
        """The bin that ends now: the steps ahead at which it was forecast, int64 ``(m,)``, and those ``(m, ...)``."""
        self._time += 1
        ahead = self._time - self._origins
        (rows,) = np.nonzero(ahead <= len(self._origins))
        if self._paths is None or not len(rows):
            return np.empty(0, np.int64), np.empty(0)
        return ahead[rows], self._paths[rows, ..., ahead[rows] - 1]
