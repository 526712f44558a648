"""Estimates from a result table: interquartile means, bootstrap intervals, comparisons.

Source: Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice, 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.tried import Tried, front
from simulator.arrays import Floats

ROUNDING = 1e-9
"""Equal costs that were added up otherwise differ by less."""
_RESAMPLES = 2000
_SEED = 0
_FLOOR = 1e-6


@dataclass(frozen=True, slots=True)
class Estimate:
    """An interquartile mean with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def interquartile_mean(values: Floats) -> float:
    """Mean of the middle half; values at its edges count by their share.

    Args:
        values: float64 ``(n,)``.
    """
    ordered = np.sort(values)
    count = len(ordered)
    edges = np.arange(count + 1) / count
    weights = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0.0, None)
    return float((weights * ordered).sum() / weights.sum())


def estimate(values: Floats) -> Estimate:
    """Interquartile mean over seeds with a percentile bootstrap interval; NaN stays NaN."""
    if np.isnan(values).any():
        return Estimate(float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(_SEED)
    draws = rng.choice(values, size=(_RESAMPLES, len(values)))
    means = np.array([interquartile_mean(draw) for draw in draws])
    low, high = np.percentile(means, (2.5, 97.5))
    return Estimate(interquartile_mean(values), float(low), float(high))


def probability_of_improvement(values: Floats, others: Floats) -> float:
    """How often a value is below another's: the share of pairs, ties half; what differs by rounding is a tie.

    Args:
        values, others: float64 ``(n,)`` and ``(m,)``; lower is better.
    """
    mine = values[:, np.newaxis]
    ties = np.isclose(mine, others, rtol=ROUNDING, atol=0.0)
    return float(np.where(ties, 0.5, mine < others).mean())


def matched_cost_usd(points: tuple[Tried, ...], slo_violation_ratio: float) -> float:
    """What a rule's front costs at another policy's violations.

    Interpolated in log violations; NaN outside the front, as nothing is extrapolated.
    """
    curve = front(points)
    violations = np.log(np.maximum([point.slo_violation_ratio for point in curve], _FLOOR))
    at = float(np.log(max(slo_violation_ratio, _FLOOR)))
    if len(curve) < 2 or not violations[-1] <= at <= violations[0]:
        return float("nan")
    costs = [point.cost_usd for point in curve]
    return float(np.interp(at, violations[::-1], costs[::-1]))


def matched_change(points: tuple[Tried, ...], costs_usd: Floats, slo_violation_ratios: Floats) -> Estimate:
    """How much dearer than a rule's front a policy is at its own violations, as a share of the front's cost.

    Args:
        costs_usd, slo_violation_ratios: float64 ``(seeds,)``; each seed is compared on its own, and one
            outside the front makes the estimate NaN.
    """
    changes = [
        cost / matched_cost_usd(points, late) - 1
        for cost, late in zip(costs_usd, slo_violation_ratios, strict=True)
    ]
    return estimate(np.array(changes, dtype=np.float64))
