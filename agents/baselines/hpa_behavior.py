"""Steps 3 to 6 of the Kubernetes HPA: stabilisation, rate policies, bounds and what is remembered.

Everything is vectorised over leading axes: counts are int64 ``(..., S)``, the moment is a float64
``(...)``. Times are compared as upstream compares them, ties included; a log entry lies at
``now - age``.

Source: kubernetes/kubernetes pkg/controller/podautoscaler/horizontal.go (``stabilizeRecommendation``,
``stabilizeRecommendationWithBehaviors``, ``convertDesiredReplicasWithRules``,
``convertDesiredReplicasWithBehaviorRate``, ``storeScaleEvent``) and, for what is filled in,
pkg/apis/autoscaling/v2/defaults.go.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from agents.policy import Mask
from simulator.arrays import Floats, Ints
from simulator.settings import Settings

Select = Literal["Max", "Min", "Disabled"]
Seconds = float | Ints | Floats
"""One for all, or an array that goes with ``(..., S)``."""
CONTROLLER_WINDOW_SECONDS: Final = 300
_HIGHEST: Final = np.iinfo(np.int64).max


class ScalingPolicy(Settings):
    """How much may change in a period."""

    type: Literal["Pods", "Percent"] = Field(description="What the value counts: pods, or percent of them.")
    value: int = Field(gt=0, description="Most pods, or percent, changed in one period.")
    period_seconds: int = Field(ge=1, le=1800, description="The period, seconds.")


class ScalingRules(Settings):
    """One direction of an HPA's ``behavior``; what is left out takes Kubernetes' defaults."""

    stabilization_window_seconds: int | None = Field(
        default=None,
        ge=0,
        le=3600,
        description="Take the most careful proposal of so long; default: up 0, down the controller's.",
    )
    select_policy: Select | None = Field(
        default=None,
        description="Which of several policies rules: Max (default), Min, or Disabled: no change.",
    )
    policies: tuple[ScalingPolicy, ...] | None = Field(
        default=None, min_length=1, description="Allowed changes; default: see Behavior."
    )
    tolerance: float | None = Field(
        default=None,
        ge=0,
        description="Tolerance in this direction as a fraction; default: the controller's.",
    )


class Behavior(Settings):
    """An HPA's ``behavior``.

    Defaults: up at most the larger of 4 pods and 100 percent in 15 s, without a window; down at
    most 100 percent in 15 s, with the controller's window.
    """

    scale_up: ScalingRules | None = Field(default=None, description="Rules on the way up.")
    scale_down: ScalingRules | None = Field(default=None, description="Rules on the way down.")


_PERCENT_15_S: Final = ScalingPolicy(type="Percent", value=100, period_seconds=15)
_PODS_15_S: Final = ScalingPolicy(type="Pods", value=4, period_seconds=15)


@dataclass(frozen=True, slots=True)
class DirectionRules:
    """ScalingRules with everything filled in; the window is one for all, or goes with ``(..., S)``."""

    window_seconds: Seconds
    select_policy: Select
    policies: tuple[ScalingPolicy, ...]

    @property
    def longest_period_seconds(self) -> int:
        """The longest period of the policies."""
        return max(policy.period_seconds for policy in self.policies)


def filled_up(rules: ScalingRules | None) -> DirectionRules:
    """Upstream's ``GenerateHPAScaleUpRules``."""
    rules = rules or ScalingRules()
    return DirectionRules(
        rules.stabilization_window_seconds or 0,
        rules.select_policy or "Max",
        rules.policies or (_PODS_15_S, _PERCENT_15_S),
    )


def filled_down(
    rules: ScalingRules | None, controller_window_seconds: Seconds = CONTROLLER_WINDOW_SECONDS
) -> DirectionRules:
    """Upstream's ``GenerateHPAScaleDownRules`` and ``maybeInitScaleDownStabilizationWindow``."""
    rules = rules or ScalingRules()
    window = rules.stabilization_window_seconds
    return DirectionRules(
        controller_window_seconds if window is None else window,
        rules.select_policy or "Max",
        rules.policies or (_PERCENT_15_S,),
    )


class Log:
    """Dated counts of every element: proposals, or changes made.

    Attributes:
        length: entries of the longest log.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.length = 0
        self._used = np.zeros(shape, dtype=np.int64)
        self._values = np.zeros((*shape, 4), dtype=np.int64)
        # An unused slot is dated NaN: every comparison with its age is False.
        self._times_seconds = np.full((*shape, 4), np.nan)
        self._index()

    @property
    def values(self) -> Ints:
        """int64 ``(..., S, length)``."""
        return self._values[..., : self.length]

    def ages_seconds(self, now_seconds: Floats) -> Floats:
        """float64 ``(..., S, length)``; NaN where an element has fewer entries."""
        ages: Floats = now_seconds[..., None, None] - self._times_seconds[..., : self.length]
        return ages

    def total(self, now_seconds: Floats, period_seconds: float) -> Ints:
        """int64 ``(..., S)``; the sum of the entries younger than the period."""
        if not self.length:
            return np.zeros_like(self._used)
        inside = self.ages_seconds(now_seconds) < period_seconds
        total: Ints = np.add.reduce(self.values * inside, axis=-1)
        return total

    def write(
        self, values: Ints, now_seconds: Floats, outdated_seconds: Seconds, where: Mask | None = None
    ) -> None:
        """Write over the last entry older than that, or append where there is none.

        Args:
            values: int64 ``(..., S)``.
            now_seconds: float64 ``(...)``; the date of the entries.
            outdated_seconds: entries with a greater age may be written over.
            where: bool ``(..., S)``; elsewhere the log stays as it is.
        """
        slots = self._slots(now_seconds, outdated_seconds)
        last = int(slots.max() if where is None else slots.max(where=where, initial=-1))
        if last >= self._values.shape[-1]:
            self._grow()
        self.length = max(self.length, last + 1)
        flat = (slots + self._offsets).ravel()
        times = np.repeat(now_seconds, slots.shape[-1])
        values, used = values.ravel(), np.maximum(self._used, slots + 1)
        if where is not None:
            chosen = where.ravel()
            flat, times, values = flat[chosen], times[chosen], values[chosen]
            used = np.where(where, used, self._used)
        self._used = used
        self._values.reshape(-1)[flat] = values
        self._times_seconds.reshape(-1)[flat] = times

    def reset(self, mask: Mask) -> None:
        """Forget the elements under a mask ``(...)``."""
        self._used[mask] = 0
        self._times_seconds[mask] = np.nan
        self.length = int(self._used.max(initial=0))

    def _slots(self, now_seconds: Floats, outdated_seconds: Seconds) -> Ints:
        if not self.length:
            return self._used
        outdated = self.ages_seconds(now_seconds) > _by_entry(outdated_seconds)
        last = np.maximum.reduce(outdated * self._ranks[: self.length], axis=-1)
        return np.where(last > 0, last - 1, self._used)

    def _index(self) -> None:
        capacity = self._values.shape[-1]
        self._ranks = np.arange(1, capacity + 1)
        self._offsets = np.arange(0, self._values.size, capacity).reshape(self._used.shape)

    def _grow(self) -> None:
        self._values = np.concatenate([self._values, np.zeros_like(self._values)], axis=-1)
        unused = np.full_like(self._times_seconds, np.nan)
        self._times_seconds = np.concatenate([self._times_seconds, unused], axis=-1)
        self._index()


def _by_entry(seconds: Seconds) -> Seconds:
    """Seconds that go with ``(..., S, length)``."""
    return seconds[..., np.newaxis] if isinstance(seconds, np.ndarray) else seconds


def stabilize_without_behavior(
    log: Log, now_seconds: Floats, proposal: Ints, window_seconds: Seconds
) -> Ints:
    """The largest of the proposal and the logged ones with age <= window, int64 ``(..., S)``."""
    if not log.length:
        return proposal
    inside = log.ages_seconds(now_seconds) <= _by_entry(window_seconds)
    return np.maximum(proposal, np.maximum.reduce(log.values * inside, axis=-1))


def stabilize(
    log: Log, now_seconds: Floats, current: Ints, proposal: Ints, windows_seconds: tuple[Seconds, Seconds]
) -> Ints:
    """The current count, brought between the lowest of the up and the highest of the down window.

    ``low = min(proposal, entries with age < up window)``, ``high = max(proposal, entries with age <
    down window)``; first raised to low, then cut to high.

    Args:
        log: past proposals, unstabilised.
        now_seconds: float64 ``(...)``.
        current: int64 ``(..., S)``.
        proposal: int64 ``(..., S)``.
        windows_seconds: of scale up and of scale down.
    """
    up_seconds, down_seconds = map(_by_entry, windows_seconds)
    has_up, has_down = np.any(up_seconds), np.any(down_seconds)
    low = high = proposal
    if log.length and (has_up or has_down):
        ages, values = log.ages_seconds(now_seconds), log.values
        if has_up:
            recent = np.where(ages < up_seconds, values, _HIGHEST)
            low = np.minimum(proposal, np.minimum.reduce(recent, axis=-1))
        if has_down:
            high = np.maximum(proposal, np.maximum.reduce(values * (ages < down_seconds), axis=-1))
    return np.minimum(np.maximum(current, low), high)


class LimitReason(IntEnum):
    """Upstream's words for what held a count back."""

    DesiredWithinRange = 0
    ScaleUpLimit = 1
    TooManyReplicas = 2
    ScaleDownLimit = 3
    TooFewReplicas = 4


@dataclass(frozen=True, slots=True)
class Bounds:
    """Fewest and most replicas, int64 ``(S,)``."""

    fewest: Ints
    most: Ints


@dataclass(frozen=True, slots=True)
class Limited:
    """Counts ``(..., S)`` after the limits, and why: int8 ``(..., S)`` of LimitReason."""

    replicas: Ints
    reason: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class GrowthLimit:
    """The controller's limit for an HPA without ``behavior``: ``max(factor * current, minimum)``."""

    factor: float = 2.0
    minimum: float = 4.0

    def limit(self, current: Ints) -> Ints:
        """Most replicas after one pass, int64 ``(..., S)``."""
        most: Ints = np.maximum(self.factor * current, self.minimum).astype(np.int64)
        return most


def limit_without_behavior(
    current: Ints, desired: Ints, bounds: Bounds, growth: GrowthLimit | None = None
) -> Limited:
    """Up to the growth limit and the maximum, down to the minimum, int64 ``(..., S)``."""
    allowed = (growth or GrowthLimit()).limit(current)
    cap = np.minimum(bounds.most, allowed)
    too_few, too_many = desired < bounds.fewest, desired > cap
    replicas, reason = desired, np.zeros(desired.shape, dtype=np.int8)
    if too_many.any():
        above = np.where(bounds.most > allowed, LimitReason.ScaleUpLimit, LimitReason.TooManyReplicas)
        replicas, reason = np.where(too_many, cap, replicas), np.where(too_many, above, reason)
    if too_few.any():
        replicas = np.where(too_few, bounds.fewest, replicas)
        reason = np.where(too_few, LimitReason.TooFewReplicas, reason)
    return Limited(replicas, reason.astype(np.int8))


class ScaleEvents:
    """Changes made in each direction, and the limits that follow from them."""

    def __init__(self, shape: tuple[int, ...], up: DirectionRules, down: DirectionRules) -> None:
        self.up, self.down = up, down
        self.added, self.removed = Log(shape), Log(shape)

    def reset(self, mask: Mask) -> None:
        """Forget the elements under a mask ``(...)``."""
        self.added.reset(mask)
        self.removed.reset(mask)

    def store(self, current: Ints, replicas: Ints, now_seconds: Floats) -> None:
        """Remember a change from the current count."""
        change = replicas - current
        if not change.any():
            return
        for log, size, rules in ((self.added, change, self.up), (self.removed, -change, self.down)):
            where = size > 0
            if where.any():
                log.write(size, now_seconds, rules.longest_period_seconds, where)

    def scale_up_limit(self, current: Ints, now_seconds: Floats) -> Ints:
        """Most replicas that the policies allow, int64 ``(..., S)``.

        ``base + value`` or ``ceil(base * (1 + value / 100))`` in doubles.
        """
        if self.up.select_policy == "Disabled":
            return current
        limits = [
            base + policy.value
            if policy.type == "Pods"
            else np.ceil(base * (1 + policy.value / 100)).astype(np.int64)
            for policy, base in self._bases(current, now_seconds, self.up)
        ]
        return functools.reduce(np.minimum if self.up.select_policy == "Min" else np.maximum, limits)

    def scale_down_limit(self, current: Ints, now_seconds: Floats) -> Ints:
        """Fewest replicas that the policies allow, int64 ``(..., S)``.

        ``base - value`` or ``base * (1 - value / 100)`` in doubles, cut toward zero.
        """
        if self.down.select_policy == "Disabled":
            return current
        limits = [
            base - policy.value
            if policy.type == "Pods"
            else (base * (1 - policy.value / 100)).astype(np.int64)
            for policy, base in self._bases(current, now_seconds, self.down)
        ]
        return functools.reduce(np.maximum if self.down.select_policy == "Min" else np.minimum, limits)

    def limit(self, current: Ints, desired: Ints, bounds: Bounds, now_seconds: Floats) -> Limited:
        """What policies and bounds leave of the desired count; bounds only in the direction of the change."""
        up, down = desired > current, desired < current
        replicas, reason = desired, np.zeros(desired.shape, dtype=np.int8)
        if up.any():
            allowed = np.maximum(self.scale_up_limit(current, now_seconds), current)
            cap = np.minimum(bounds.most, allowed)
            held = up & (desired > cap)
            replicas = np.where(held, cap, replicas)
            by_policy = np.where(bounds.most > allowed, LimitReason.ScaleUpLimit, LimitReason.TooManyReplicas)
            reason = np.where(held, by_policy, reason)
        if down.any():
            allowed = np.minimum(self.scale_down_limit(current, now_seconds), current)
            floor = np.maximum(bounds.fewest, allowed)
            held = down & (desired < floor)
            replicas = np.where(held, floor, replicas)
            by_policy = np.where(
                bounds.fewest < allowed, LimitReason.ScaleDownLimit, LimitReason.TooFewReplicas
            )
            reason = np.where(held, by_policy, reason)
        return Limited(replicas, reason.astype(np.int8))

    def _bases(
        self, current: Ints, now_seconds: Floats, rules: DirectionRules
    ) -> list[tuple[ScalingPolicy, Ints]]:
        bases = {
            seconds: current
            - self.added.total(now_seconds, seconds)
            + self.removed.total(now_seconds, seconds)
            for seconds in {policy.period_seconds for policy in rules.policies}
        }
        return [(policy, bases[policy.period_seconds]) for policy in rules.policies]
