"""CPU that a request takes and that a pod takes without any, and how long pods take to start."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from experiments.fit.record import Record
from simulator.arrays import Floats
from simulator.errors import InputError

DEFAULT_START_P50_SECONDS, DEFAULT_START_P95_SECONDS = 25.0, 45.0
_Z95 = 1.6448536269514722
_ROUNDS = 25
_HUBER = 1.5
_MAD = 1.4826
_SURE = 4.0
_LEAST_IDLE_SHARE = 0.02
FEWEST_STARTS = 5
_MOST_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Cpu:
    """What requests and pods take.

    Attributes:
        seconds_per_request: CPU-seconds of a request.
        idle_cores: what a pod takes without requests; 0 where the record does not show any.
        whole_seconds_per_request: CPU-seconds a request where idle CPU is shared out among requests:
            what a task, which knows no idle CPU, has.
        idle_share: of all CPU in the record, what pods take idle.
    """

    seconds_per_request: float
    idle_cores: float
    whole_seconds_per_request: float
    idle_share: float


def fit_cpu(record: Record, steady: np.ndarray) -> Cpu:
    """CPU as a request's times the rate and a pod's times the replicas, robust against outliers.

    The part of a pod is kept only where it is plainly above 0 and worth naming: where replicas follow the
    rate, the two cannot be told apart.

    Args:
        steady: bool ``(T,)``; where the service keeps up, so that what comes is what is served.

    Raises:
        InputError: if CPU is not above 0.
    """
    known = steady & np.isfinite(record.cpu_cores) & np.isfinite(record.rate_rps)
    rate, pods, used = record.rate_rps[known], record.serving[known], record.cpu_cores[known]
    (whole,), _ = _robust(rate[:, np.newaxis], used)
    if not whole > 0:
        msg = f"{record.name}: cpu_cores does not grow with rate_rps; a request must take CPU"
        raise InputError(msg)
    (request, idle), errors = _robust(np.column_stack([rate, pods]), used)
    share = idle * pods.sum() / used.sum()
    if idle < _SURE * errors[1] or share < _LEAST_IDLE_SHARE or request <= 0:
        return Cpu(float(whole), 0.0, float(whole), 0.0)
    return Cpu(float(request), float(idle), float(whole), float(share))


def _robust(columns: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Coefficients and their standard errors: Huber's weights, by iteration.

    Source: Huber, Robust Statistics, 1981.
    """
    level = np.maximum(values, 1e-3 * max(float(values.mean()), 1e-12))
    weights = 1 / level
    found: Floats = np.zeros(columns.shape[1])
    covariance: Floats = np.eye(columns.shape[1])
    for _ in range(_ROUNDS):
        scaled, wanted = columns * weights[:, np.newaxis], values * weights
        found = np.asarray(np.linalg.lstsq(scaled, wanted, rcond=None)[0], dtype=np.float64)
        left = (values - columns @ found) / level
        spread = max(_MAD * float(np.median(np.abs(left))), 1e-9)
        weights = np.sqrt(np.minimum(1.0, _HUBER * spread / np.maximum(np.abs(left), 1e-12))) / level
        covariance = np.asarray(np.linalg.pinv(scaled.T @ scaled) * spread**2, dtype=np.float64)
    return found, np.sqrt(np.diag(covariance))


@dataclass(frozen=True, slots=True)
class StartUp:
    """How long pods take.

    Attributes:
        pods: how many starts it is from; 0 where it is the default.
    """

    p50_seconds: float
    p95_seconds: float
    pods: int


def fit_start_up(seconds: Floats) -> StartUp:
    """A lognormal law by maximum likelihood; the default where there are too few starts."""
    known = seconds[(seconds > 0) & (seconds <= _MOST_SECONDS)]
    if len(known) < FEWEST_STARTS:
        return StartUp(DEFAULT_START_P50_SECONDS, DEFAULT_START_P95_SECONDS, 0)
    logs = np.log(known)
    middle, sigma = float(logs.mean()), float(logs.std())
    p50 = math.exp(middle)
    return StartUp(p50, min(p50 * math.exp(_Z95 * sigma), _MOST_SECONDS), len(known))
