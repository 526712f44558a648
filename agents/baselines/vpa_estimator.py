"""The Vertical Pod Autoscaler's estimators: from a percentile of usage to an amount.

Amounts are whole millicores or bytes. Source: kubernetes/autoscaler
vertical-pod-autoscaler/pkg/recommender/logic/estimator.go and model/types.go.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from simulator.arrays import Floats, Ints

MAX_AMOUNT: Final = 10**14
_MINUTE_SECONDS: Final = 60.0


def whole_amount(amount: Floats | Ints) -> Ints:
    """Cut to a whole number in [0, 10^14], int64 ``(...)``; 0 for what is not a number."""
    known = np.nan_to_num(np.asarray(amount, np.float64), nan=0.0, posinf=MAX_AMOUNT)
    return np.clip(known, 0, MAX_AMOUNT).astype(np.int64)


def confidence(samples: Ints | Floats, lifespan_seconds: Floats, interval_seconds: float) -> Floats:
    """How much history there is, in intervals: the lesser of its length and of its samples, one a minute."""
    minutes = interval_seconds / _MINUTE_SECONDS
    return np.asarray(
        np.minimum(np.asarray(lifespan_seconds) / interval_seconds, np.asarray(samples) / minutes)
    )


def with_confidence(amount: Ints, multiplier: float, exponent: float, confident: Floats) -> Ints:
    """``amount (1 + multiplier / confidence)^exponent``: an upper bound comes down, a lower one up, with history."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = np.power(1.0 + np.divide(multiplier, confident), exponent)
        return whole_amount(np.asarray(amount * factor, np.float64))


def with_margin(amount: Ints, fraction: float) -> Ints:
    """The amount and a safety margin of a fraction of it."""
    margin = whole_amount(np.asarray(amount * fraction, np.float64))
    return np.asarray(amount + margin, np.int64)


def at_least(amount: Ints, least: int) -> Ints:
    """The amount, or the least that is recommended."""
    return np.maximum(amount, least)
