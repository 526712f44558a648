"""Response times of a station by formulas: fast enough to try thousands of services on a whole record.

The wait of M/G/c is Erlang C's probability of waiting, and then exponential with Allen and Cunneen's mean.
Which service is right is settled on the request engine afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from simulator.arrays import Floats
from simulator.service import DispatchRule

Family = Literal["lognormal", "gamma"]
MOST_BUSY = 0.985
"""Load over capacity is taken to be at most this: beyond it a queue has no steady state to compare with."""
_TIMES = np.geomspace(1e-3, 1e3, 1001)
_CHANCES = np.concatenate(([0.0], np.geomspace(1e-3, 1.0, 28)))
_DELAYS = np.geomspace(3e-3, 1e2, 56)
FRACTIONS = {"latency_p50_seconds": 0.5, "latency_p95_seconds": 0.95}
MEAN = "latency_mean_seconds"


@dataclass(frozen=True)
class Shape:
    """Service times of mean 1: a family and its squared coefficient of variation."""

    family: Family
    scv: float

    def cumulative(self, times: Floats) -> Floats:
        """Probability of at most each time, over the mean."""
        from scipy import stats

        if self.family == "gamma":
            return np.asarray(stats.gamma.cdf(times, 1 / self.scv, scale=self.scv))
        sigma = math.sqrt(math.log1p(self.scv))
        return np.asarray(stats.norm.cdf((np.log(times) + sigma**2 / 2) / sigma))

    @cached_property
    def tables(self) -> dict[str, Floats]:
        """Response-time percentiles over the mean, by probability of waiting and mean delay of who waits.

        With density f and a delay of mean d, P(R > t) = P(S > t) + C P(S <= t < S + D), and the last term follows
        from one time to the next: it decays by exp(-dt / d) and takes in the requests served in between.
        """
        cumulative = self.cumulative(_TIMES)
        gains, steps = np.diff(cumulative, prepend=0.0), np.diff(_TIMES, prepend=0.0)
        late = np.zeros((len(_DELAYS), len(_TIMES)))
        held = np.zeros(len(_DELAYS))
        for place, (gain, step) in enumerate(zip(gains, steps, strict=True)):
            held = held * np.exp(-step / _DELAYS) + gain * np.exp(-step / 2 / _DELAYS)
            late[:, place] = held
        found = {}
        for name, fraction in FRACTIONS.items():
            exceeds = (1 - cumulative) + _CHANCES[:, np.newaxis, np.newaxis] * late
            found[name] = _crossing(exceeds, 1 - fraction)
        return found


def _crossing(exceeds: Floats, level: float) -> Floats:
    """Where each tail, along the last axis, falls to a level; between two times in their logarithms."""
    after = np.argmax(exceeds <= level, axis=-1)
    after = np.where(exceeds[..., -1] > level, len(_TIMES) - 1, np.maximum(after, 1))
    high = np.take_along_axis(exceeds, after[..., np.newaxis] - 1, -1)[..., 0]
    low = np.take_along_axis(exceeds, after[..., np.newaxis], -1)[..., 0]
    share = np.clip((high - level) / np.maximum(high - low, 1e-12), 0, 1)
    logs = np.log(_TIMES)
    return np.asarray(np.exp(logs[after - 1] + share * (logs[after] - logs[after - 1])))


@dataclass(frozen=True)
class Candidate:
    """A service that may be the recorded one."""

    shape: Shape
    mean_seconds: float
    slots_per_pod: int
    dispatch: DispatchRule = "shared"

    def latencies(self, rate_rps: Floats, replicas: Floats, names: tuple[str, ...]) -> dict[str, Floats]:
        """Response times in steady state at each of many loads, seconds, by name: float64 ``(T,)``."""
        pods = np.maximum(replicas, 1.0)
        alone = self.dispatch != "shared"
        servers = self.slots_per_pod * (np.ones_like(pods) if alone else pods)
        load = rate_rps * self.mean_seconds / (pods if alone else 1.0)
        load = np.clip(load, 1e-9, MOST_BUSY * servers)
        arrival_scv = 1 / pods if self.dispatch == "round_robin" else 1.0
        chance = erlang_c(servers, load)
        delay = (arrival_scv + self.shape.scv) / 2 / (servers - load)
        found = {}
        for name in names:
            if name == MEAN:
                found[name] = self.mean_seconds * (1 + chance * delay)
            else:
                found[name] = self.mean_seconds * _look_up(self.shape.tables[name], chance, delay)
        return found


def erlang_c(servers: Floats, load: Floats) -> Floats:
    """Probability of waiting in M/M/c for many stations at once, c a real number.

    Erlang B is a Poisson probability over a cumulative one, which for real c is an incomplete gamma function.
    Source: Jagerman, Some properties of the Erlang loss function, 1974.
    """
    from scipy.special import gammaincc, gammaln

    at = servers * np.log(load) - load - gammaln(servers + 1)
    blocking = np.exp(at - np.log(np.maximum(gammaincc(servers + 1, load), 1e-300)))
    busy = load / servers
    return np.asarray(np.clip(blocking / (1 - busy * (1 - blocking)), 0.0, 1.0))


def _look_up(table: Floats, chance: Floats, delay: Floats) -> Floats:
    """Bilinear, in the chance and in the logarithm of the delay."""
    row, across = _place(_CHANCES, chance)
    column, along = _place(np.log(_DELAYS), np.log(np.maximum(delay, 1e-12)))
    first = table[row, column] * (1 - along) + table[row, column + 1] * along
    second = table[row + 1, column] * (1 - along) + table[row + 1, column + 1] * along
    return np.asarray(first * (1 - across) + second * across)


def _place(knots: Floats, values: Floats) -> tuple[np.ndarray, Floats]:
    """The knot below each value and how far it is to the next, in [0, 1]."""
    row = np.clip(np.searchsorted(knots, values, side="right") - 1, 0, len(knots) - 2)
    return row, np.clip((values - knots[row]) / (knots[row + 1] - knots[row]), 0.0, 1.0)
