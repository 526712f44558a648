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
        self._paths = np.zeros((steps, steps))
        self._time = 0
        self._next = 0

    def issue(self, path: Floats) -> None:
        """Take a forecast made now, float64 ``(..., H)``."""
        if self._paths.shape[1:] != path.shape:
            self._paths = np.broadcast_to(
                _led(self._paths, path.ndim), (len(self._paths), *path.shape)
            ).copy()
        self._paths[self._next] = path
        self._origins[self._next] = self._time
        self._next = (self._next + 1) % len(self._origins)

    def due(self, axes: int = 0) -> tuple[Ints, Floats]:
        """The bin that ends now: the steps ahead at which it was forecast, int64 ``(m,)``, and those ``(m, ...)``.

        Args:
            axes: how many axes, of length one if need be, the forecasts are to have beyond the first.
        """
        self._time += 1
        ahead = self._time - self._origins
        (rows,) = np.nonzero(ahead <= len(self._origins))
        return ahead[rows], _led(self._paths[rows, ..., ahead[rows] - 1], axes)


def _led(values: Floats, axes: int) -> Floats:
    """With so many axes at least beyond the first, new ones right after that."""
    new = max(axes - (values.ndim - 1), 0)
    return values.reshape(len(values), *(1,) * new, *values.shape[1:])
