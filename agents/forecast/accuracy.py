"""How good forecasts were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.forecast.forecaster import HIGH, LEVELS, LOW, MEDIAN
from simulator.arrays import Floats, Ints

MEDIAN_REPLICAS = 20
RIGHT_WITHIN = 0.1
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of forecasts at one horizon; NaN where it is not defined.

    Attributes:
        mape: mean of ``|y - f| / y`` over bins with ``y > 0``.
        smape: mean of ``2 |y - f| / (y + f)``; 0 where both are 0.
        mase: mean ``|y - f|`` over that of the seasonal naive forecast within the history
            (Hyndman and Koehler, 2006).
        pinball: mean over LEVELS and bins of ``max(q (y - f_q), (q - 1) (y - f_q))``, requests/s.
        coverage: share of bins within the 90 % interval, ends included.
        right: share of bins in which scaling on the forecast would have been right (``share_right``).
    """

    mape: float
    smape: float
    mase: float
    pinball: float
    coverage: float
    right: float


def measure(actual: Floats, quantiles: Floats, scale: float, usual: float) -> Accuracy:
    """Accuracy of quantiles ``(n, Q)`` for what came, ``(n,)``; bins where either is NaN are left out.

    Args:
        scale: mean absolute error of the seasonal naive forecast within the history.
        usual: the rate that takes MEDIAN_REPLICAS.
    """
    known = ~(np.isnan(actual) | np.isnan(quantiles).any(axis=1))
    if not known.any():
        return Accuracy(*(float("nan"),) * 6)
    actual, quantiles = actual[known], quantiles[known]
    forecast = quantiles[:, MEDIAN]
    off, both = np.abs(actual - forecast), actual + forecast
    some = actual > 0
    return Accuracy(
        mape=float((off[some] / actual[some]).mean()) if some.any() else float("nan"),
        smape=float(np.divide(2 * off, both, out=np.zeros_like(off), where=both > 0).mean()),
        mase=float(off.mean() / scale) if scale > 0 else float("nan"),
        pinball=pinball(actual, quantiles),
        coverage=float(((quantiles[:, LOW] <= actual) & (actual <= quantiles[:, HIGH])).mean()),
        right=share_right(actual, forecast, usual),
    )


def pinball(actual: Floats, quantiles: Floats) -> float:
    """Mean pinball loss over LEVELS."""
    above = actual[:, np.newaxis] - quantiles
    levels = np.array(LEVELS)
    return float(np.maximum(levels * above, (levels - 1) * above).mean())


def needed_replicas(rate: Floats, usual: float) -> Ints:
    """Replicas at the same load each, MEDIAN_REPLICAS of them at the usual rate, and one at least."""
    return np.maximum(np.ceil(MEDIAN_REPLICAS * rate / usual - _ROUNDING), 1).astype(np.int64)


def share_right(actual: Floats, forecast: Floats, usual: float) -> float:
    """Share of bins in which the replicas for the forecast are within 10 % of those that were needed."""
    if not usual > 0:
        return float("nan")
    needed, asked = needed_replicas(actual, usual), needed_replicas(forecast, usual)
    return float((np.abs(asked - needed) <= RIGHT_WITHIN * needed + _ROUNDING).mean())


def share_right_at_best(actual: Floats, requests: Floats, usual: float) -> float:
    """The share that would be right if all that is not foreseen were the chance of single requests' arrival.

    To first order: were the rate known and requests Poisson, counts would be off by a normal draw with their number as
    variance. 99 evenly spaced draws.
    """
    if not usual > 0:
        return float("nan")
    from statistics import NormalDist

    draws = np.array([NormalDist().inv_cdf(share / 100) for share in range(1, 100)])
    spread = np.divide(1.0, np.sqrt(requests), out=np.zeros_like(requests), where=requests > 0)
    guesses = np.maximum(actual[:, np.newaxis] * (1 + spread[:, np.newaxis] * draws), 0.0)
    return float(np.mean([share_right(actual, guess, usual) for guess in guesses.T]))
