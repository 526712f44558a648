"""KEDA's ScaledObject as a Policy: triggers, an HPA on what they report, and the way between 0 and 1.

KEDA makes an HPA whose metrics are its triggers, and moves the count itself only between zero (or
idle) and the fewest: ``agents.baselines.keda_scaling``. Source: kedacore/keda.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from pydantic import Field, model_validator

from agents.baselines.hpa_behavior import Behavior, Bounds, ScalingRules
from agents.baselines.hpa_metrics import counts_of, measured, milli_of
from agents.baselines.hpa_pass import Autoscaler, MetricRule, Pass, Rules
from agents.baselines.hpa_proposal import Counts, Usage, WholeTarget
from agents.baselines.hpa_reason import by_service, reason_of
from agents.baselines.hpa_settings import ScalingSettings
from agents.baselines.keda_scaling import (
    COOLDOWN_SECONDS,
    Activity,
    Fallback,
    FallbackBehavior,
    ScaleRules,
    is_active,
    report,
    request_scale,
)
from agents.policy import Context, Mask, by_cluster
from simulator.arrays import Floats, Ints
from simulator.plant import Desired, Snapshot
from simulator.settings import Settings

VARIED: Final = frozenset({"target", "window", "cooldown"})
"""Settings that the clusters of one Keda may differ in."""
_MILLI: Final = 1000


class TriggerSettings(Settings):
    """One trigger of a ScaledObject."""

    metric: str = Field(
        min_length=1, description="rate, queue, latency_p95, cpu, or a metric of the plant's own."
    )
    target: float = Field(ge=0.001, le=1e15, description="Value per replica to steer to.")
    activation: float = Field(default=0.0, description="The trigger is active while its value is over this.")
    type: Literal["average_value", "value"] = Field(
        default="average_value",
        description="KEDA's metricType: average_value, the target is for one replica; value, for all together.",
    )


class FallbackSettings(Settings):
    """What to want where a trigger's metric is missing for long."""

    failures: int = Field(
        default=3, ge=0, description="KEDA's failureThreshold: failures in a row that hold the count."
    )
    replicas: int = Field(ge=0, le=100_000, description="Replicas to want after more failures.")
    behavior: FallbackBehavior = Field(
        default="static", description="These replicas, the current ones, or the larger or smaller of both."
    )

    @property
    def rule(self) -> Fallback:
        """The same as the rule takes it."""
        return Fallback(self.failures, self.replicas, self.behavior)


class KedaSettings(ScalingSettings):
    """Settings of a ScaledObject; defaults are KEDA's. Most replicas come from the Context, fewest, too, by default."""

    target: float | None = Field(
        default=None,
        ge=0.001,
        le=1e15,
        description="Value of the metric per replica to steer to; needed unless there are triggers.",
    )
    metric: str = Field(
        default="rate",
        min_length=1,
        description="What the one trigger looks at: rate, queue, or another metric.",
    )
    activation: float = Field(
        default=0.0, description="The one trigger is active while its value is over this."
    )
    triggers: tuple[TriggerSettings, ...] = Field(
        default=(), description="Several triggers in place of metric, target and activation."
    )
    cooldown: int = Field(
        default=COOLDOWN_SECONDS,
        ge=0,
        le=86_400,
        description="Seconds after the last activity before it goes to zero.",
    )
    initial_cooldown: float = Field(
        default=0.0, ge=0, le=86_400, description="The same at first, before any activity."
    )
    polling: float = Field(
        default=30.0,
        ge=1,
        le=3600,
        description="KEDA's pollingInterval: seconds between two looks at activity.",
    )
    min_replicas: int | None = Field(
        default=None, ge=0, le=100_000, description="Fewest replicas while active; default: the task's."
    )
    idle: int | None = Field(
        default=None,
        ge=0,
        le=0,
        description="KEDA's idleReplicaCount: 0 while inactive, though min_replicas is more.",
    )
    fallback: FallbackSettings | None = Field(
        default=None, description="What to want where metrics are missing; default: hold."
    )
    paused: bool = Field(default=False, description="Do nothing.")
    paused_replicas: int | None = Field(
        default=None, ge=0, le=100_000, description="Do nothing but have these replicas."
    )
    paused_scale_in: bool = Field(default=False, description="Never go down.")
    paused_scale_out: bool = Field(default=False, description="Never go up.")

    @model_validator(mode="after")
    def _one_kind_of_trigger(self) -> KedaSettings:
        single = {"metric", "target", "activation"} & self.model_fields_set
        if self.triggers and single:
            msg = f"{min(single)} is given with triggers: only one of metric, target and triggers is allowed"
            raise ValueError(msg)
        if not self.triggers and self.target is None:
            msg = "target is needed, such as target=40 requests/s a replica, or triggers"
            raise ValueError(msg)
        if self.idle is not None and not self.min_replicas:
            msg = f"idle is {self.idle}: it needs min_replicas of 1 or more"
            raise ValueError(msg)
        return self

    @property
    def all_triggers(self) -> tuple[TriggerSettings, ...]:
        """The triggers, however they were given."""
        if self.triggers or self.target is None:
            return self.triggers
        return (TriggerSettings(metric=self.metric, target=self.target, activation=self.activation),)

    @property
    def paused_rules(self) -> Behavior | None:
        """The HPA's behavior, with the directions disabled that are paused."""
        if not self.paused_scale_in and not self.paused_scale_out:
            return self.rules
        rules = self.rules or Behavior()
        up, down = rules.scale_up or ScalingRules(), rules.scale_down or ScalingRules()
        return Behavior(
            scale_up=up.model_copy(update={"select_policy": "Disabled"}) if self.paused_scale_out else up,
            scale_down=down.model_copy(update={"select_policy": "Disabled"})
            if self.paused_scale_in
            else down,
        )


@dataclass(slots=True)
class _Memory:
    """What KEDA remembers of services of any number of clusters.

    Attributes:
        failures: of each trigger, int64 ``(..., S)``; in a row.
        active_seconds: float64 ``(..., S)``; when any trigger was active last, NaN before.
        made_seconds: float64 ``(...)``; when it was first seen, NaN before.
        polled_seconds: float64 ``(...)``; when activity was looked at last, NaN before.
    """

    failures: list[Ints]
    active_seconds: Floats
    made_seconds: Floats
    polled_seconds: Floats

    @staticmethod
    def empty(shape: tuple[int, ...], triggers: int) -> _Memory:
        """Nothing seen yet, of counts ``(..., S)``."""
        never = np.full(shape[:-1], np.nan)
        failures = [np.zeros(shape, dtype=np.int64) for _ in range(triggers)]
        return _Memory(failures, np.full(shape, np.nan), never, never.copy())

    def reset(self, mask: Mask) -> None:
        """Forget the clusters under a mask ``(...)``."""
        self.failures = [np.where(mask[..., np.newaxis], 0, each) for each in self.failures]
        self.active_seconds = np.where(mask[..., np.newaxis], np.nan, self.active_seconds)
        self.made_seconds = np.where(mask, np.nan, self.made_seconds)
        self.polled_seconds = np.where(mask, np.nan, self.polled_seconds)


class Keda:
    """A ScaledObject for all services and clusters.

    A trigger whose metric is missing is left out of the HPA's pass, as a failing metric of any HPA: the
    others may scale up, not down, and where all are missing the count is held. With a fallback, more
    than ``failures`` misses in a row, one each pass with replicas, make the HPA want its replicas. At 0
    replicas nothing wakes it then.

    Args:
        settings: for all clusters, or of each of N, which differ in VARIED alone.
    """

    def __init__(
        self, settings: KedaSettings | Sequence[KedaSettings], bounds: Bounds, services: tuple[str, ...] = ()
    ) -> None:
        each = (settings,) if isinstance(settings, KedaSettings) else settings
        self.settings = first = each[0]
        self._services = services
        self._targets = _targets_of(each)
        fewest = np.minimum(np.maximum(bounds.fewest, first.min_replicas or 0), bounds.most)
        self._scale = ScaleRules(
            fewest=fewest,
            idle=first.idle,
            cooldown_seconds=by_cluster([one.cooldown for one in each]),
            initial_cooldown_seconds=first.initial_cooldown,
            fallback_replicas=None if first.fallback is None else first.fallback.replicas,
            paused_scale_in=first.paused_scale_in,
            paused_scale_out=first.paused_scale_out,
        )
        self._fallback = None if first.fallback is None else first.fallback.rule
        rules = Rules(
            tuple(
                MetricRule("external", trigger.metric, target)
                for trigger, target in zip(first.all_triggers, self._targets, strict=True)
            ),
            Bounds(np.maximum(fewest, 1), np.maximum(bounds.most, 1)),
            first.paused_rules,
            first.tolerances,
            by_cluster([one.window for one in each]),
        )
        self._autoscaler = Autoscaler(rules)
        self._memory: _Memory | None = None

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        return self.settings.period

    def decide(self, snapshot: Snapshot) -> Desired:
        """One pass of the HPA, and of KEDA's own loop where that is due."""
        settings, current = self.settings, snapshot.wanted
        if settings.paused or settings.paused_replicas is not None:
            return self._pause(snapshot)
        now_seconds = np.asarray(snapshot.time_seconds, dtype=np.float64)
        memory = self._remembered(current.shape, now_seconds)
        counts = counts_of(snapshot)
        values = [_values(snapshot, trigger) for trigger in settings.all_triggers]
        done = self._autoscaler.decide(counts, self._report(values, counts, memory), now_seconds)
        wished = self._request(values, current, memory, now_seconds)
        moved = wished != current
        replicas = np.where(moved, wished, done.rescale.replicas)
        if current.ndim > 1:
            return Desired(replicas)
        texts = [self._reason(done, wished, place) for place in range(len(current))]
        return Desired(replicas, by_service(texts, self._services))

    def reset(self, mask: Mask | None = None) -> None:
        """Forget activity and changes; with a mask ``(...)``, only for the clusters where it is True."""
        self._autoscaler.reset(mask)
        if mask is None:
            self._memory = None
        elif self._memory is not None:
            self._memory.reset(np.asarray(mask))

    def _pause(self, snapshot: Snapshot) -> Desired:
        replicas = self.settings.paused_replicas
        if replicas is None:
            return Desired.hold(snapshot, "paused")
        return Desired(np.full_like(snapshot.wanted, replicas), f"paused at {replicas}")

    def _remembered(self, shape: tuple[int, ...], now_seconds: Floats) -> _Memory:
        if self._memory is None or self._memory.active_seconds.shape != shape:
            self._memory = _Memory.empty(shape, len(self.settings.all_triggers))
        memory = self._memory
        memory.made_seconds = np.where(np.isnan(memory.made_seconds), now_seconds, memory.made_seconds)
        return memory

    def _report(self, values: list[Floats], counts: Counts, memory: _Memory) -> list[Usage]:
        """What the HPA gets; failures count where it asks, which is not at 0 replicas."""
        readings = []
        for place, target in enumerate(self._targets):
            ready = None if target.per_replica else counts.ready
            before = memory.failures[place]
            found = report(values[place], before, self._fallback, target.milli / _MILLI, counts.spec, ready)
            memory.failures[place] = np.where(counts.spec > 0, found.failures, before)
            readings.append(Usage(milli_of(found.values), ~np.isnan(found.values)))
        return readings

    def _request(self, values: list[Floats], current: Ints, memory: _Memory, now_seconds: Floats) -> Ints:
        """What KEDA sets, where a look at activity is due; else the current count."""
        due = ~(now_seconds - memory.polled_seconds < self.settings.polling)
        memory.polled_seconds = np.where(due, now_seconds, memory.polled_seconds)
        active = np.zeros(current.shape, dtype=bool)
        failed = active.copy()
        for each, trigger in zip(values, self.settings.all_triggers, strict=True):
            active |= is_active(each, trigger.activation)
            failed |= np.isnan(each)
        now_each, due_each = now_seconds[..., np.newaxis], due[..., np.newaxis]
        memory.active_seconds = np.where(due_each & active, now_each, memory.active_seconds)
        age_seconds = (now_seconds - memory.made_seconds)[..., np.newaxis]
        activity = Activity(active, failed, now_each - memory.active_seconds, age_seconds)
        return np.where(due_each, request_scale(current, activity, self._scale), current)

    def _reason(self, done: Pass, wished: Ints, place: int) -> str:
        current, asked = int(done.current[place]), int(wished[place])
        if asked != current:
            return f"{'inactive' if asked < current else 'active'}, {current} -> {asked}"
        return "inactive, 0 replicas" if current == 0 else reason_of(done, place)


def _targets_of(each: Sequence[KedaSettings]) -> tuple[WholeTarget, ...]:
    """The target of each trigger, for all clusters."""
    return tuple(
        WholeTarget(
            by_cluster([round(one.all_triggers[place].target * _MILLI) for one in each]),
            per_replica=trigger.type == "average_value",
        )
        for place, trigger in enumerate(each[0].all_triggers)
    )


def _values(snapshot: Snapshot, trigger: TriggerSettings) -> Floats:
    """float64 ``(..., S)``; NaN where the metric is missing."""
    metric = measured(snapshot, trigger.metric)
    if metric is None:
        return np.full(snapshot.wanted.shape, np.nan)
    return np.where(np.isfinite(metric.value), metric.value, np.nan)


def make_keda(settings: KedaSettings | Sequence[KedaSettings], context: Context) -> Keda:
    """A Keda within the Context's bounds, for all clusters or with settings for each."""
    return Keda(settings, Bounds(context.min_replicas, context.max_replicas), context.services)
