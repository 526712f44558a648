"""Values as they come, of which the last ones are kept."""

from __future__ import annotations

import numpy as np

from simulator.arrays import Floats


class Tape:
    """The last values of a series, in order; ``len`` counts all that came.

    Args:
        keep: how many are kept at least.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._values = np.empty(2 * keep)
        self._filled = 0
        self._dropped = 0

    def __len__(self) -> int:
        """How many values have come, those that are kept and those that are not."""
        return self._dropped + self._filled

    def extend(self, values: Floats) -> None:
        """Take more values, float64 ``(k,)``."""
        room = len(self._values) - self._filled
        if len(values) > room:
            kept = np.concatenate((self.kept, values))[-self._keep :]
            self._dropped += self._filled + len(values) - len(kept)
            self._values[: len(kept)] = kept
            self._filled = len(kept)
        else:
            self._values[self._filled : self._filled + len(values)] = values
            self._filled += len(values)

    @property
    def kept(self) -> Floats:
        """All that is kept, float64 ``(n,)``; the last ``keep`` values and perhaps some before them."""
        return self._values[: self._filled]

    @property
    def first(self) -> int:
        """The place in the series of the first value that is kept."""
        return self._dropped
