"""Settings that were tried, which are better, and the front of those that none beats."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from agents.space import Point

_FEWEST_VIOLATIONS = 1e-6


@dataclass(frozen=True, slots=True)
class Tried:
    """Settings and what they came to; their point in the space is empty where none stands for them."""

    spec: str
    cost_usd: float
    slo_violation_ratio: float
    point: Point = field(default=(), compare=False)


def rank(tried: Tried, limit: float) -> tuple[bool, float, float]:
    """Lower is better: by cost where violations are within the limit, then the others by violations."""
    over = not tried.slo_violation_ratio <= limit
    first = tried.slo_violation_ratio if over else tried.cost_usd
    return over, first, tried.cost_usd


def thin(curve: list[Tried], count: int) -> list[Tried]:
    """At most so many points of a front, as even in the logarithm of their violations as there are."""
    if len(curve) <= count:
        return curve
    violations = np.log([max(tried.slo_violation_ratio, _FEWEST_VIOLATIONS) for tried in curve])
    evenly = np.linspace(violations[0], violations[-1], count)
    return [curve[place] for place in sorted({int(np.abs(violations - at).argmin()) for at in evenly})]


def front(points: tuple[Tried, ...]) -> list[Tried]:
    """The points that no other beats in both cost and violations, by rising cost."""
    best: list[Tried] = []
    for point in sorted(points, key=lambda one: (one.cost_usd, one.slo_violation_ratio)):
        if not best or point.slo_violation_ratio < best[-1].slo_violation_ratio:
            best.append(point)
    return best
