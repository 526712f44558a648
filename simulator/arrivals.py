"""Arrival times and other draws that no policy can change."""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

from simulator.plant import Floats
from simulator.trace import Trace

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


class PoissonArrivals:
    """Poisson arrivals whose rate follows a Trace.

    A unit-rate Poisson process is run through the inverse of the expected number of arrivals, so
    the arrivals are a function of trace and seed alone, not of how the time is cut.
    Source: Cinlar, Introduction to Stochastic Processes, 1975 (time change).
    """

    def __init__(self, trace: Trace, rng: np.random.Generator) -> None:
        self._expected = np.concatenate(([0.0], np.cumsum(trace.requests)))
        self._bin_seconds = trace.bin_seconds
        self._units = BlockStream(rng.standard_exponential)
        self._reached = float(self._units.take(1)[0])
        self._bin = 0

    def until(self, seconds: float) -> Floats:
        """The arrivals before ``seconds`` not handed out yet: float64 ``(n,)``, ascending."""
        parts = []
        finished = False
        while not finished:
            guess = max(0.0, self._expected_at(seconds) - self._reached)
            units = self._units.take(int(guess + 4 * guess**0.5) + 16)
            times = np.empty(len(units))
            count, self._reached, self._bin, finished = _invert(
                seconds, units, times, self._expected, self._bin_seconds, self._reached, self._bin
            )
            self._units.give_back(units[count:])
            parts.append(times[:count])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _expected_at(self, seconds: float) -> float:
        position = min(seconds / self._bin_seconds, len(self._expected) - 1.0)
        left = min(int(position), len(self._expected) - 2)
        low, high = self._expected[left], self._expected[left + 1]
        return float(low + (position - left) * (high - low))


@numba.njit(cache=True, nogil=True)
def _invert(until, units, times, expected, bin_seconds, reached, bin_index):
    """Turn unit-rate steps into times before ``until``; (count, reached, bin, finished)."""
    last = len(expected) - 1
    for count in range(len(units)):
        while bin_index < last and reached >= expected[bin_index + 1]:
            bin_index += 1
        if bin_index == last:
            return count, reached, bin_index, True
        low = expected[bin_index]
        time = (bin_index + (reached - low) / (expected[bin_index + 1] - low)) * bin_seconds
        if time >= until:
            return count, reached, bin_index, True
        times[count] = time
        reached += units[count]
    return len(units), reached, bin_index, False
