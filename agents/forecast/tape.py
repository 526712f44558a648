"""Values as they come, of which the last ones are kept."""

from __future__ import annotations

import numpy as np

from simulator.arrays import Floats


class Tape:
    """The last values of a series, in order; ``len`` counts all that came.

    Args:
        values: what has come so far, float64 ``(T,)``.
        keep: how many are kept at least, where so many have come.
    """

    def __init__(self, values: Floats, keep: int) -> None:
        self._keep = keep
        self._values = np.empty(2 * keep)
        self._filled = min(len(values), keep)
        self._dropped = len(values) - self._filled
        self._values[: self._filled] = values[self._dropped :]

    def __len__(self) -> int:
        """How many values have come, those that are kept and those that are not."""
        return self._dropped + self._filled

    @property
    def kept(self) -> Floats:
        """All that is kept, float64 ``(..., n)``; the last ``keep`` values and perhaps some before them."""
        return self._values[..., : self._filled]

    @property
    def first(self) -> int:
        """The place in the series of the first value that is kept."""
        return self._dropped

    def extend(self, values: Floats) -> None:
        """Take more values, float64 ``(..., k)``; with leading axes, they go on from what was shared before."""
        lead, count = values.shape[:-1], values.shape[-1]
        if self._values.shape[:-1] != lead:
            self._values = np.broadcast_to(self._values, (*lead, self._values.shape[-1])).copy()
        if self._filled + count > self._values.shape[-1]:
            kept = np.concatenate((self.kept, values), axis=-1)[..., -self._keep :]
            self._dropped += self._filled + count - kept.shape[-1]
            self._filled = kept.shape[-1]
            self._values[..., : self._filled] = kept
        else:
            self._values[..., self._filled : self._filled + count] = values
            self._filled += count
