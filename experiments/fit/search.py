"""Which service the record's latencies are of: its law, its slots per pod, how requests find a pod.

Formulas are compared with the record at many loads; ``experiments.fit.refine`` settles the rest on the engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from experiments.fit.record import OPTIONAL, Record
from experiments.fit.waiting import FRACTIONS, MEAN, Candidate, Family, Shape
from simulator.arrays import Floats
from simulator.errors import InputError
from simulator.service import DispatchRule

LATENCIES = (*FRACTIONS, MEAN)
FEWEST_ANSWERED = 50
"""Latencies of steps with fewer requests are not compared."""
FAMILIES: tuple[Family, ...] = ("lognormal", "gamma")
DISPATCHES: tuple[DispatchRule, ...] = ("shared", "round_robin", "random")
_SCVS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 4.5, 7.0)
_SLOTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 23, 26, 29, 32, 36, 40, 46, 52, 58, 64, 80, 100)
_MANY_SLOTS = (128, 160, 200, 256, 400, 640, 1024)
_FEW_SLOTS = (1, 2, 4, 8, 16, 32, 64, 128, 1024)
_MOST_ROWS = 500
_KEPT_SHAPES = 4
_SAMPLING_VARIANCE = 2.0
"""Of a percentile's or a mean's relative error, times the requests: about that of exponential times."""
_OWN_DEVIATION = 0.03
"""What the model itself may be off; a mean by half of that, since no law's form enters it at low load."""
HUBER = 2.5
"""Deviations from which a loss grows in a straight line."""
EVIDENCE = 12.0
"""A candidate whose loss is worse than the best one's by so many mean losses of a step is ruled out."""
_GOLDEN = 0.6180339887498949
_ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Seen:
    """Steps whose latencies are compared.

    Attributes:
        rate_rps: float64 ``(R,)``.
        replicas: float64 ``(R,)``.
        latencies: float64 ``(R,)`` by name, seconds; NaN where missing.
        deviations: float64 ``(R,)`` by name; expected of the logarithm of each latency.
    """

    rate_rps: Floats
    replicas: Floats
    latencies: dict[str, Floats]
    deviations: dict[str, Floats]

    def loss(self, candidate: Candidate) -> float:
        """Huber's loss of the logarithms' differences, a number a latency and step, added up."""
        names = tuple(self.latencies)
        return self.loss_of(candidate.latencies(self.rate_rps, self.replicas, names))

    def loss_of(self, found: dict[str, Floats]) -> float:
        """The same of latencies that were found otherwise."""
        total = 0.0
        for name, values in self.latencies.items():
            off = np.abs(np.log(found[name] / values)) / self.deviations[name]
            off = off[np.isfinite(off)]
            total += float(np.where(off <= HUBER, off**2 / 2, HUBER * (off - HUBER / 2)).sum())
        return total

    @property
    def count(self) -> int:
        """How many latencies there are."""
        return sum(int(np.isfinite(values).sum()) for values in self.latencies.values())


@dataclass(frozen=True, slots=True)
class Found:
    """The service that fits best, and what else would fit as well.

    Attributes:
        best: of all candidates.
        fewest_slots: that the record does not rule out.
        most_slots: the same; None where it does not rule out any number.
        shape_is_seen: whether the record tells the law's spread, and with it mean from percentile: a p95 alone
            does not.
    """

    best: Candidate
    fewest_slots: int
    most_slots: int | None
    shape_is_seen: bool


def comparable(record: Record) -> np.ndarray:
    """The steps whose p95 is known and speaks of enough requests: bool ``(T,)``."""
    known = np.isfinite(record.latency_p95_seconds) & (record.latency_p95_seconds > 0)
    return np.asarray(known & (record.answered >= FEWEST_ANSWERED) & np.isfinite(record.rate_rps))


def look(record: Record) -> Seen:
    """Some hundred steps: half of them spread over all loads, half the busiest.

    Raises:
        InputError: if there are too few steps to compare.
    """
    rows = np.flatnonzero(comparable(record))
    if len(rows) < 30:
        msg = (
            f"{record.name}: only {len(rows)} steps of the part to fit on have a latency_p95_seconds and "
            f"{FEWEST_ANSWERED} requests; at least 30 must (wider steps have more requests)"
        )
        raise InputError(msg)
    per_pod = record.rate_rps[rows] / np.maximum(record.serving[rows], 1)
    rows = rows[np.argsort(per_pod, kind="stable")]
    spread = rows[np.unique(np.linspace(0, len(rows) - 1, _MOST_ROWS // 2).astype(int))]
    rows = np.union1d(spread, rows[-_MOST_ROWS // 2 :])
    named = [name for name in LATENCIES if name not in OPTIONAL or np.isfinite(getattr(record, name)).any()]
    latencies = {name: getattr(record, name)[rows] for name in named}
    latencies = {name: np.where(values > 0, values, np.nan) for name, values in latencies.items()}
    own = {name: _OWN_DEVIATION / (2 if name == MEAN else 1) for name in named}
    sampling = _SAMPLING_VARIANCE / record.answered[rows]
    deviations = {name: np.sqrt(sampling + own[name] ** 2) for name in named}
    return Seen(record.rate_rps[rows], record.serving[rows], latencies, deviations)


def search(seen: Seen) -> Found:
    """The best of all laws, slots and ways to find a pod; one queue unless another is plainly better."""
    coarse = [
        (seen.loss(one), one)
        for family in FAMILIES
        for scv in _SCVS
        for one in [_best(seen, Shape(family, scv), _FEW_SLOTS, ("shared",))]
    ]
    coarse.sort(key=lambda pair: pair[0])
    kept = [one.shape for _, one in coarse[:_KEPT_SHAPES]]
    slots = (*_SLOTS, *_MANY_SLOTS)
    by_rule = {
        rule: min((_best(seen, shape, slots, (rule,)) for shape in kept), key=seen.loss)
        for rule in DISPATCHES
    }
    spread = seen.loss(min(by_rule.values(), key=seen.loss)) / seen.count
    rule = min(DISPATCHES, key=lambda name: seen.loss(by_rule[name]) - EVIDENCE * spread * (name == "shared"))
    best = _sharpen(seen, by_rule[rule])
    shape_is_seen = len(seen.latencies) > 1
    if not shape_is_seen:
        assumed = _best(seen, Shape("lognormal", 1.0), slots, (rule,))
        best = assumed if seen.loss(assumed) <= _level(seen, best) else best
    low, high = _slots_that_fit(seen, best, slots)
    return Found(best, low, high, shape_is_seen)


def _best(seen: Seen, shape: Shape, slots: Iterable[int], rules: tuple[DispatchRule, ...]) -> Candidate:
    """The best mean, slots and rule of a shape."""
    tried = [with_best_mean(seen, Candidate(shape, 1.0, count, rule)) for count in slots for rule in rules]
    return min(tried, key=seen.loss)


def with_best_mean(seen: Seen, candidate: Candidate) -> Candidate:
    """The mean service time that fits best, to a part in a thousand: golden sections in its logarithm."""
    idle = candidate.shape.tables["latency_p95_seconds"][0, 0]
    quiet = float(np.nanpercentile(seen.latencies["latency_p95_seconds"], 10)) / idle
    low, high = np.log(quiet / 4), np.log(quiet * 1.5)

    def loss(log_mean: float) -> float:
        return seen.loss(replace(candidate, mean_seconds=float(np.exp(log_mean))))

    grid = np.linspace(low, high, 10)
    middle = int(np.argmin([loss(one) for one in grid]))
    low, high = grid[max(middle - 1, 0)], grid[min(middle + 1, len(grid) - 1)]
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    of_left, of_right = loss(left), loss(right)
    for _ in range(_ROUNDS):
        if of_left < of_right:
            high, right, of_right = right, left, of_left
            left = high - _GOLDEN * (high - low)
            of_left = loss(left)
        else:
            low, left, of_left = left, right, of_right
            right = low + _GOLDEN * (high - low)
            of_right = loss(right)
    return replace(candidate, mean_seconds=float(np.exp((low + high) / 2)))


def _sharpen(seen: Seen, candidate: Candidate) -> Candidate:
    """The spread between those of the grid, at the same slots and one step around them."""
    best = candidate
    for factor in (1.3, 1.15, 1.07):
        near = [
            with_best_mean(
                seen,
                replace(best, shape=Shape(best.shape.family, best.shape.scv * power), slots_per_pod=count),
            )
            for power in (1 / factor, factor)
            for count in _near(best.slots_per_pod)
        ]
        best = min([best, *near], key=seen.loss)
    return best


def _near(slots: int) -> list[int]:
    step = max(1, round(0.08 * slots))
    return sorted({max(1, slots - step), slots, slots + step})


def _slots_that_fit(seen: Seen, best: Candidate, slots: tuple[int, ...]) -> tuple[int, int | None]:
    """Fewest and most slots that the record does not rule out; None where the largest tried fits as well."""
    level = _level(seen, best)
    fits = [
        count
        for count in slots
        if seen.loss(with_best_mean(seen, replace(best, slots_per_pod=count))) <= level
    ]
    fits.append(best.slots_per_pod)
    return min(fits), None if max(fits) >= slots[-1] else max(fits)


def _level(seen: Seen, best: Candidate) -> float:
    """The loss beyond which a candidate is ruled out."""
    return seen.loss(best) * (1 + EVIDENCE / seen.count)
