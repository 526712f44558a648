"""The cheapest replica schedules of a model in which every period is known.

Time goes in T periods. In period t so many replicas are ready, of N counts in a row, and B levels say how
much waited when it began. What is late in the period and the level after it are given for every count and
level. A ready replica costs ``hold_usd`` a period and a further one ``start_usd``, once; taking one away
costs nothing. That is the offline optimum of right-sizing with a switching cost (M. Lin, A. Wierman, L.
Andrew and E. Thereska, Dynamic right-sizing for power-proportional data centers, 2011), here with a state
that remembers what waits, and with a budget of violations.

For a price of a violation a shortest path over (period, count, level) gives the schedule that is cheapest
with its violations paid for. Nothing cheaper has as few violations as it (H. Everett, Generalized Lagrange
multiplier method, 1963), so it is the optimum for its own violations; between two such schedules the duality
gap is open, and ``bound_usd`` says how wide it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Floats, Ints

_CLOSE, _MOST_RUNGS = 1.08, 120
"""Rungs of a ladder are so close in what is late that can be avoided; there are at most so many."""
_SAME = 1.002
"""Prices whose ratio is less are one."""
_DEPTHS = (0.4, 0.7)
"""The deepest levels that may wait, as shares of all, where schedules that give up are not wanted."""
_FORBIDDEN = np.float32(1e7)
"""Violations that going below it counts as."""
_SWITCHES = 60
"""Moments, ever denser towards the end, at which a schedule between two cheapest ones may go over to the other."""
_LOWEST, _HIGHEST = 1e-4, 1e5
"""Prices of a violation that a ladder starts from, in pods' periods."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a schedule comes to.

    Attributes:
        late: float32 ``(T, N, B)``; violations in a period.
        after: uint8 ``(T, N, B)``; the level after it.
        hold_usd: float64 ``(T,)``; a ready replica for a period.
        start_usd: a further ready replica, for the time in which it starts.
        fewest: what the first of the N counts is.
        first: replicas before the first period; the level is 0 then.
        lead: in so many first periods no replica can be added, as none has started by then.
    """

    late: NDArray[np.float32]
    after: NDArray[np.uint8]
    hold_usd: Floats
    start_usd: float
    fewest: int
    first: int
    lead: int = 0

    def follow(self, replicas: Ints) -> tuple[float, float]:
        """Cost in USD and violations of a schedule, int64 ``(T,)``."""
        level, before, usd, late = 0, self.first, 0.0, 0.0
        for period, count in enumerate(replicas.tolist()):
            usd += self.hold_usd[period] * count + self.start_usd * max(count - before, 0)
            late += float(self.late[period, count - self.fewest, level])
            level = int(self.after[period, count - self.fewest, level])
            before = count
        return float(usd), late


@dataclass(frozen=True, slots=True)
class Rung:
    """The schedule that is cheapest with its violations paid for.

    Attributes:
        usd_per_violation: their price.
        replicas: int64 ``(T,)``; ready in each period.
    """

    usd_per_violation: float
    cost_usd: float
    late: float
    replicas: Ints

    def bound_usd(self, late: float) -> float:
        """No schedule with at most so many violations costs less."""
        return self.cost_usd + self.usd_per_violation * (self.late - late)


def cheapest(model: Model, usd_per_violation: float) -> Rung:
    """The cheapest schedule where every violation costs so much: a shortest path, exact."""
    best = _decide(model, usd_per_violation)
    replicas = _follow(model, best, best, len(best))
    return Rung(usd_per_violation, *model.follow(replicas), replicas)


def ladder(model: Model, floor: float) -> list[Rung]:
    """Cheapest schedules by rising price, close together in their violations, and others where there are none.

    The cheapest schedules jump where giving up for good is cheaper than giving up a little. In between there are
    those that give up some time before the end, and those that are cheapest among schedules that never let more than a
    level wait. Their price is NaN, as they are optimal at none; what another schedule beats in both is left out.

    Args:
        floor: violations that no schedule avoids, or a little less: steps are shares of what is above it.
    """
    hull = _hull(model, floor, 0.0)
    jumps = [(low, high) for low, high in pairwise(hull) if _apart(low, high, floor)]
    others = [rung for low, high in jumps for rung in _between(model, low, high)]
    if jumps:
        fewest = min(high.late for _, high in jumps)
        levels = model.late.shape[2]
        for deepest in {round(share * levels) for share in _DEPTHS}:
            shallow = replace(
                model, late=model.late + _FORBIDDEN * (model.after > deepest).astype(np.float32)
            )
            others += [_priceless(model, rung.replicas) for rung in _hull(shallow, floor, fewest)]
    return hull + _unbeaten(hull, others)


def _hull(model: Model, floor: float, fewest: float) -> list[Rung]:
    """Cheapest schedules by rising price, until none is wanted between two or there is none.

    Args:
        fewest: where there are fewer violations, none is wanted.
    """
    unit = float(model.hold_usd.mean())
    found = [cheapest(model, unit * price) for price in np.geomspace(_LOWEST, _HIGHEST, 10)]
    while len(found) < _MOST_RUNGS:
        gaps = [
            (low.usd_per_violation * high.usd_per_violation) ** 0.5
            for low, high in pairwise(found)
            if low.late > fewest
            and _apart(low, high, floor)
            and high.usd_per_violation > _SAME * low.usd_per_violation
        ]
        if not gaps:
            break
        found += [cheapest(model, price) for price in gaps]
        found.sort(key=lambda rung: rung.usd_per_violation)
    return found


def _priceless(model: Model, replicas: Ints) -> Rung:
    return Rung(float("nan"), *model.follow(replicas), replicas)


def _unbeaten(hull: list[Rung], others: list[Rung]) -> list[Rung]:
    """The others that no schedule beats in both cost and violations."""
    kept, fewest = [], np.inf
    known = {id(rung) for rung in hull}
    for rung in sorted([*hull, *others], key=lambda one: (one.cost_usd, one.late)):
        if rung.late < fewest:
            fewest = rung.late
            if id(rung) not in known:
                kept.append(rung)
    return kept


def _apart(low: Rung, high: Rung, floor: float) -> bool:
    """Whether schedules of a lower and a higher price differ so much that one between them is wanted."""
    return low.late - floor > _CLOSE * (high.late - floor) and low.cost_usd < high.cost_usd * (1 - 1e-4)


def _between(model: Model, low: Rung, high: Rung) -> list[Rung]:
    """Schedules that go by the higher price until some time before the end, and by the lower one from then on."""
    early, late = (_decide(model, rung.usd_per_violation) for rung in (high, low))
    periods = len(model.hold_usd)
    left = np.unique(np.geomspace(1, periods, _SWITCHES).astype(int))
    return [_priceless(model, _follow(model, early, late, periods - int(rest))) for rest in left[:-1]]


def _decide(model: Model, usd_per_violation: float) -> NDArray[np.int16]:
    """The best count's place in each period, by the place of the one before and the level: int16 ``(T, N, B)``."""
    best = np.empty(model.late.shape, np.int16)
    _solve(
        model.late,
        model.after,
        model.hold_usd,
        model.start_usd,
        model.fewest,
        model.lead,
        usd_per_violation,
        best,
    )
    return best


def _follow(model: Model, early: NDArray[np.int16], late: NDArray[np.int16], switch: int) -> Ints:
    """Replicas by one table of decisions before a period and by another from it on: int64 ``(T,)``."""
    replicas = np.empty(len(early), np.int64)
    _walk(early, late, switch, model.after, model.first - model.fewest, replicas)
    return replicas + model.fewest


def safer(model: Model, rung: Rung, more: int, most: int) -> Rung:
    """A rung's schedule with the replicas of the periods beside each, and more."""
    wide = np.concatenate((rung.replicas[:1], rung.replicas, rung.replicas[-1:]))
    highest = np.maximum(np.maximum(wide[:-2], wide[2:]), rung.replicas)
    replicas = np.minimum(highest + more, min(most, model.fewest + model.late.shape[1] - 1))
    replicas[: model.lead] = np.minimum(replicas[: model.lead], model.first)
    return Rung(float("nan"), *model.follow(replicas), replicas)


def bound_usd(rungs: list[Rung], late: float) -> float:
    """No schedule with at most so many violations costs less: the best of the rungs' bounds."""
    return max(rung.bound_usd(late) for rung in rungs if not np.isnan(rung.usd_per_violation))


def plan_wanted(replicas: Ints, first: int, start_seconds: Floats, period_seconds: float) -> Ints:
    """What to want, so that replicas are ready as a schedule has them: int64 ``(T,)``.

    The k-th pod that is created takes the k-th start-up. Each is created as late as it may be; none is taken away
    that would have to be created again at once, and those that start are taken away first.

    Args:
        replicas: int64 ``(T,)``; ready in each period.
        first: ready before the first period.
        start_seconds: float64 ``(K,)``; start-ups in the order of creation, from the beginning again after the last.
    """
    wanted = np.empty_like(replicas)
    _plan(replicas, first, start_seconds, period_seconds, wanted)
    return wanted


@numba.njit(cache=True, nogil=True)
def _solve(late, after, hold_usd, start_usd, fewest, lead, usd_per_violation, best):
    periods, counts, levels = late.shape
    value = np.zeros((levels, counts))
    cost = np.empty(counts)
    for period in range(periods - 1, -1, -1):
        following = value.copy()
        hold = hold_usd[period]
        for level in range(levels):
            for count in range(counts):
                cost[count] = (
                    hold * (fewest + count)
                    + usd_per_violation * late[period, count, level]
                    + following[after[period, count, level], count]
                )
            lowest, at = np.inf, 0
            for count in range(counts):
                if cost[count] < lowest:
                    lowest, at = cost[count], count
                value[level, count], best[period, count, level] = lowest, at
            if period < lead:
                continue
            lowest, at = np.inf, 0
            for count in range(counts - 1, -1, -1):
                lowest += start_usd
                if cost[count] < lowest:
                    lowest, at = cost[count], count
                if lowest < value[level, count]:
                    value[level, count], best[period, count, level] = lowest, at


@numba.njit(cache=True, nogil=True)
def _walk(early, late, switch, after, count, replicas):
    level = 0
    for period in range(len(replicas)):
        best = early if period < switch else late
        count = best[period, count, level]
        replicas[period] = count
        level = after[period, count, level]


@numba.njit(cache=True, nogil=True)
def _plan(replicas, first, start_seconds, period_seconds, wanted):
    periods, draws = len(replicas), len(start_seconds)
    furthest = int(start_seconds.max() / period_seconds) + 2
    alive, created, all_ready = first, 0, 0.0
    for now in range(periods):
        due = _due(replicas, now, alive, created, start_seconds, period_seconds, furthest)
        for pod in range(created, created + due):
            all_ready = max(all_ready, now * period_seconds + start_seconds[pod % draws])
        alive += due
        created += due
        if not due:
            until = max(now, int(all_ready / period_seconds) + 1)
            fewer = min(alive, replicas[now : until + 1].max())
            while fewer < alive and _due(
                replicas, now, fewer, created, start_seconds, period_seconds, furthest
            ):
                fewer += 1
            alive = fewer
        wanted[now] = alive


@numba.njit(cache=True, nogil=True)
def _due(replicas, now, alive, created, start_seconds, period_seconds, furthest):
    """How many pods have to be created now, as the next period would be too late."""
    highest, due = alive, 0
    for ahead in range(min(furthest, len(replicas) - now)):
        while highest < replicas[now + ahead]:
            seconds = start_seconds[(created + highest - alive) % len(start_seconds)]
            highest += 1
            if ahead * period_seconds - seconds < period_seconds:
                due = highest - alive
    return due
