"""Arrivals in bursts: a Poisson process whose rate a Markov chain modulates."""

from __future__ import annotations

import numba
import numpy as np

from simulator.arrays import Floats, Ints
from simulator.draws import BlockStream
from simulator.processes import ModulatedProcess
from simulator.trace import Trace

_BLOCK = 4096
_MOST_STEPS = 65_536


class LevelPath:
    """The path of a modulated process's chain from time 0 on, from its stationary distribution.

    It is drawn in blocks of one size, so it does not depend on who asks when.
    """

    def __init__(self, process: ModulatedProcess, rng: np.random.Generator) -> None:
        self._rng = rng
        self._factors = process.factors()
        self._mean_seconds = np.array(process.mean_sojourn_seconds)
        self._jumps = _cumulative_shares(process.jumps())
        self._state = int(np.searchsorted(_cumulative_shares(process.stationary()), rng.random(), "right"))
        self._end = 0.0

    def next_block(self) -> tuple[Floats, Ints, Floats]:
        """The next sojourns: when each ends, in which state, and the factor of the rate; ``(n,)`` each."""
        lengths, choices = self._rng.standard_exponential(_BLOCK), self._rng.random(_BLOCK)
        states = np.empty(_BLOCK, dtype=np.int64)
        self._state = _walk(self._state, choices, self._jumps, states)
        ends = self._end + np.cumsum(lengths * self._mean_seconds[states])
        self._end = float(ends[-1])
        return ends, states, self._factors[states]


class ModulatedArrivals:
    """Markov-modulated Poisson arrivals: the rate is a Trace's times the level of a LevelPath.

    A unit-rate Poisson process is run through the inverse of the expected number of arrivals given
    the path, so the arrivals are a function of trace, path and seed, not of how the time is cut.
    Source: W. Fischer and K. Meier-Hellstern, The Markov-modulated Poisson process (MMPP)
    cookbook, 1993.
    """

    def __init__(self, trace: Trace, path: LevelPath, rng: np.random.Generator) -> None:
        self._expected = np.concatenate(([0.0], np.cumsum(trace.requests)))
        self._bin_seconds = trace.bin_seconds
        self._path = path
        self._units = BlockStream(rng.standard_exponential)
        self._progress = np.array([float(self._units.take(1)[0]), 0.0, 0.0, 0.0])
        self._place = np.zeros(2, dtype=np.int64)
        self._ends, _, self._factors = path.next_block()

    def until(self, seconds: float) -> Floats:
        """The arrivals before ``seconds`` not handed out yet: float64 ``(n,)``, ascending."""
        parts = []
        finished = False
        while not finished:
            if self._place[0] == len(self._ends):
                self._ends, _, self._factors = self._path.next_block()
                self._place[0] = 0
            guess = _count_at(seconds, self._expected, self._bin_seconds) - self._progress[2]
            units = self._units.take(int(min(1.1 * max(guess, 0.0), _MOST_STEPS)) + 16)
            times = np.empty(len(units))
            count, finished = _invert(
                seconds,
                units,
                times,
                self._expected,
                self._bin_seconds,
                self._ends,
                self._factors,
                self._progress,
                self._place,
            )
            self._units.give_back(units[count:])
            parts.append(times[:count])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _cumulative_shares(shares: Floats) -> Floats:
    """Sums along the last axis that end in exactly 1."""
    sums = np.cumsum(shares, axis=-1)
    return np.asarray(sums / sums[..., -1:])


@numba.njit(cache=True, nogil=True)
def _walk(state, choices, jumps, states):
    """Fill in the states that follow each other from this one on; the state after the last."""
    for index in range(len(states)):
        states[index] = state
        state = np.searchsorted(jumps[state], choices[index], side="right")
    return state


@numba.njit(cache=True, nogil=True)
def _count_at(seconds, expected, bin_seconds):
    """The trace's expected count before a time."""
    last = len(expected) - 1
    position = min(seconds / bin_seconds, float(last))
    left = min(int(position), last - 1)
    return expected[left] + (position - left) * (expected[left + 1] - expected[left])


@numba.njit(cache=True, nogil=True)
def _invert(until, units, times, expected, bin_seconds, ends, factors, progress, place):
    """Turn unit-rate steps into times before ``until``; (count, finished).

    ``progress``: the next arrival's count on the unit-rate scale, and that scale's and the trace's
    counts and the time at the sojourn's begin. ``place``: the sojourn and the bin. Both move on only
    with whole sojourns and arrivals, so rounding is the same however time is cut.
    """
    reached, passed, base, begin = progress
    sojourn, bin_index = place
    horizon = min(until, (len(expected) - 1) * bin_seconds)
    count = 0
    finished = False
    while sojourn < len(ends) and not finished and count < len(units):
        if begin >= horizon:
            finished = True
            break
        end, factor = ends[sojourn], factors[sojourn]
        top = _count_at(end, expected, bin_seconds)
        limit = passed + factor * (top - base)
        while reached < limit and count < len(units):
            # Rounding must not carry it over the sojourn's end, where the trace may have no requests.
            target = min(base + (reached - passed) / factor, np.nextafter(top, -np.inf))
            while target >= expected[bin_index + 1]:
                bin_index += 1
            low = expected[bin_index]
            time = (bin_index + (target - low) / (expected[bin_index + 1] - low)) * bin_seconds
            time = min(max(time, begin), end)
            if time >= until:
                finished = True
                break
            times[count] = time
            reached += units[count]
            count += 1
        if not finished and reached >= limit:
            passed, base, begin = limit, top, end
            sojourn += 1
    progress[0], progress[1], progress[2], progress[3] = reached, passed, base, begin
    place[0], place[1] = sojourn, bin_index
    return count, finished
