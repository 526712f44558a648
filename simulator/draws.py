"""Draws handed out in order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simulator.arrays import Floats

_BLOCK = 8192


class BlockStream:
    """Draws handed out in order, however they are asked for.

    They are drawn in blocks of one size, so the i-th draw is the same whatever the sizes of the
    portions, for every law.
    """

    def __init__(self, draw: Callable[[int], Floats]) -> None:
        self._draw = draw
        self._left = np.empty(0)

    def take(self, count: int) -> Floats:
        """The next ``count`` draws: float64 ``(count,)``."""
        if count > len(self._left):
            blocks = -(-(count - len(self._left)) // _BLOCK)
            self._left = np.concatenate([self._left, *(self._draw(_BLOCK) for _ in range(blocks))])
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def give_back(self, rest: Floats) -> None:
        """Put back what was taken last and not used."""
        self._left = np.concatenate([rest, self._left])
