"""What KEDA does beside the HPA it makes: activation, the way between 0 and 1, and fallbacks.

Everything is vectorised: counts are int64 ``(..., S)``. Source: kedacore/keda
pkg/scaling/executor/scale_scaledobjects.go (``RequestScale``, ``scaleToZeroOrIdle``,
``scaleFromZeroOrIdle``), pkg/fallback/fallback.go (``GetMetricsWithFallback``, ``doFallback``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from agents.baselines.hpa_behavior import Seconds
from agents.policy import Mask
from simulator.arrays import Floats, Ints

COOLDOWN_SECONDS: Final = 300
FallbackBehavior = Literal["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]


def is_active(values: Floats, threshold: float) -> Mask:
    """Whether a trigger is: strictly over its activation threshold, whatever its target; a missing value is not."""
    return np.asarray(values > threshold)


@dataclass(frozen=True, slots=True)
class Fallback:
    """What to report of a trigger whose source fails too often.

    Attributes:
        failure_threshold: failures in a row that pass as errors; must be 0 or more, else all do.
        replicas: how many to want then; must be 0 or more, else errors pass.
        behavior: these replicas, the current ones, or the larger or smaller of both.
    """

    failure_threshold: int
    replicas: int
    behavior: FallbackBehavior = "static"

    def wanted(self, current: Ints) -> Ints:
        """The replicas to want, int64 ``(..., S)``."""
        if self.behavior == "currentReplicas":
            return current
        if self.behavior == "currentReplicasIfHigher":
            return np.maximum(current, self.replicas)
        if self.behavior == "currentReplicasIfLower":
            return np.minimum(current, self.replicas)
        return np.full_like(current, self.replicas)


@dataclass(frozen=True, slots=True)
class Reported:
    """What KEDA tells the HPA of a trigger; every array is ``(..., S)``.

    Attributes:
        values: float64; NaN where the error passes and the HPA gets nothing.
        falls_back: where the fallback speaks.
        failures: int64; failures in a row by now: 0 is Happy, more is Failing.
    """

    values: Floats
    falls_back: Mask
    failures: Ints


def report(
    values: Floats,
    failures: Ints,
    fallback: Fallback | None,
    target: float | Floats,
    current: Ints,
    ready: Ints | None = None,
) -> Reported:
    """A trigger's values, and in their place what makes the HPA want the fallback's replicas.

    Args:
        values: float64 ``(..., S)``; NaN where the source fails.
        failures: int64 ``(..., S)``; failures in a row before.
        fallback: None: errors pass, and failures are not counted.
        target: of one replica, or for all together where ``ready`` is given.
        current: int64 ``(..., S)``.
        ready: int64 ``(..., S)``; of a Value target: the HPA multiplies with them, so they are divided by, and
            where there are none the error passes.
    """
    failed = np.isnan(values)
    if fallback is None:
        return Reported(values, np.zeros_like(failed), failures)
    failures = np.where(failed, failures + 1, 0)
    falls_back = failed & (failures > fallback.failure_threshold)
    if fallback.failure_threshold < 0 or fallback.replicas < 0:
        falls_back = np.zeros_like(failed)
    wanted = target * fallback.wanted(current)
    if ready is not None:
        falls_back = falls_back & (ready > 0)
        wanted = wanted / np.maximum(ready, 1)
    return Reported(np.where(falls_back, wanted, values), falls_back, failures)


@dataclass(frozen=True, slots=True)
class ScaleRules:
    """A ScaledObject's bounds and what it does at them.

    Attributes:
        fewest: minReplicaCount; one for all, or int64 that goes with ``(..., S)``.
        idle: idleReplicaCount: replicas while nothing is active, fewer than ``fewest``; None: no such mode.
        cooldown_seconds: how long after the last activity the way to zero (or idle) is free.
        initial_cooldown_seconds: the same after creation, where there was no activity yet.
        fallback_replicas: of the fallback; None without one.
        paused: nothing happens.
        paused_scale_in: the way to zero (or idle) is closed.
        paused_scale_out: the way from zero (or idle) is closed.
        forced: active, whatever the triggers say.
    """

    fewest: int | Ints = 0
    idle: int | None = None
    cooldown_seconds: Seconds = COOLDOWN_SECONDS
    initial_cooldown_seconds: float = 0.0
    fallback_replicas: int | None = None
    paused: bool = False
    paused_scale_in: bool = False
    paused_scale_out: bool = False
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Activity:
    """What the triggers say; every array is ``(..., S)``.

    Attributes:
        active: whether any is active.
        failed: whether any source fails.
        inactive_seconds: float64; since the last activity, NaN where there was none.
        age_seconds: float64; since the ScaledObject was made.
    """

    active: Mask
    failed: Mask
    inactive_seconds: Floats
    age_seconds: Floats


def request_scale(current: Ints, activity: Activity, rules: ScaleRules) -> Ints:
    """The replicas that KEDA sets, int64 ``(..., S)``; the current ones where it leaves them to the HPA."""
    if rules.paused:
        return current
    active = activity.active | rules.forced
    replicas = np.where(active, _when_active(current, rules), _when_inactive(current, activity, rules))
    return replicas.astype(np.int64)


def _when_active(current: Ints, rules: ScaleRules) -> Ints:
    wakes = current == 0
    if rules.idle is not None:
        wakes = wakes | (current < rules.fewest)
    if rules.paused_scale_out:
        return current
    return np.where(wakes, np.maximum(rules.fewest, 1), current)


def _when_inactive(current: Ints, activity: Activity, rules: ScaleRules) -> Ints:
    """To zero (or idle) once cooled down, up to the fewest, or as it is where a source fails."""
    fewest, idle = rules.fewest, rules.idle
    leaves = activity.failed & (rules.fallback_replicas is None or rules.fallback_replicas != 0)
    sleeps = (current > 0) & np.equal(fewest, 0)
    lowest: int | Ints = fewest
    if idle is not None:
        sleeps, lowest = sleeps | (current > idle), idle
    cooled = np.where(
        np.isnan(activity.inactive_seconds),
        activity.age_seconds > rules.initial_cooldown_seconds,
        activity.inactive_seconds > rules.cooldown_seconds,
    )
    asleep = np.where(cooled & (not rules.paused_scale_in), lowest, current)
    raised = np.maximum(current, fewest) if idle is None else current
    return np.where(leaves, current, np.where(sleeps, asleep, raised))
