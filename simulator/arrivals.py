"""Arrival times that no policy can change: from a Trace's rate, or as they were logged."""

from __future__ import annotations

from bisect import bisect_left
from typing import Protocol

import numba
import numpy as np

from simulator.arrays import Floats
from simulator.draws import BlockStream
from simulator.modulated import LevelPath, ModulatedArrivals
from simulator.processes import ArrivalSettings, DeterministicProcess, ModulatedProcess
from simulator.trace import Trace

_PATH_CHILD = 0


class ArrivalProcess(Protocol):
    """Requests that come whatever is done."""

    def until(self, seconds: float, /) -> Floats:
        """The arrivals before ``seconds`` not handed out yet: float64 ``(n,)``, ascending."""
        ...


def make_arrivals(
    settings: ArrivalSettings, trace: Trace, sequence: np.random.SeedSequence
) -> ArrivalProcess:
    """The arrivals of a trace; time 0 is its first bin's start.

    Args:
        settings: how requests come where only counts are known; where the trace has exact request
            times, they are it and nothing is drawn.
        trace: the load.
        sequence: all randomness; the same one gives the same arrivals, and it stays as it is. A
            chain's path has the stream of its first child, so nothing else may spawn from it.
    """
    if trace.times_seconds is not None:
        return LoggedArrivals(trace.times_seconds, trace.start_seconds)
    if isinstance(settings, DeterministicProcess):
        return DeterministicArrivals(trace)
    rng = np.random.default_rng(sequence)
    if isinstance(settings, ModulatedProcess):
        of_path = np.random.SeedSequence(
            sequence.entropy, spawn_key=(*sequence.spawn_key, _PATH_CHILD), pool_size=sequence.pool_size
        )
        return ModulatedArrivals(trace, LevelPath(settings, np.random.default_rng(of_path)), rng)
    return PoissonArrivals(trace, rng)


class LoggedArrivals:
    """Requests that come when they came.

    Args:
        times_seconds: float64 ``(R,)``, ascending.
        start_seconds: what is time 0 on their clock.
    """

    def __init__(self, times_seconds: Floats, start_seconds: float = 0.0) -> None:
        self._times = times_seconds
        self._start = start_seconds
        self._next = 0

    def until(self, seconds: float) -> Floats:
        """The arrivals before ``seconds`` not handed out yet: float64 ``(n,)``, ascending."""
        first = self._next
        self._next = bisect_left(self._times, seconds, lo=first, key=lambda time: time - self._start)
        return self._times[first : self._next] - self._start


class _TimeChange:
    """Arrivals at given expected counts: steps on that scale run through the inverse of a Trace's.

    They are a function of trace and steps alone, not of how the time is cut.
    Source: Cinlar, Introduction to Stochastic Processes, 1975 (time change).
    """

    def __init__(self, trace: Trace, steps: BlockStream, first: float) -> None:
        self._expected = np.concatenate(([0.0], np.cumsum(trace.requests)))
        self._bin_seconds = trace.bin_seconds
        self._units = steps
        self._reached = first
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


class PoissonArrivals(_TimeChange):
    """Poisson arrivals whose rate follows a Trace: steps are those of a unit-rate Poisson process."""

    def __init__(self, trace: Trace, rng: np.random.Generator) -> None:
        steps = BlockStream(rng.standard_exponential)
        super().__init__(trace, steps, float(steps.take(1)[0]))


class DeterministicArrivals(_TimeChange):
    """The n-th request comes when a Trace's expected count is n - 1/2."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(trace, BlockStream(np.ones), 0.5)


@numba.njit(cache=True, nogil=True)
def _invert(until, units, times, expected, bin_seconds, reached, bin_index):
    """Turn steps of the expected count into times before ``until``; (count, reached, bin, finished)."""
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
