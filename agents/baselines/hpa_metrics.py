"""An HPA's metrics: how people write them, and how they are read from a Snapshot."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from pydantic import Field, model_validator

from agents.baselines.hpa_pass import MetricRule, Reading
from agents.baselines.hpa_proposal import (
    AverageValueTarget,
    Counts,
    Usage,
    UtilizationTarget,
    WholeTarget,
)
from simulator.arrays import Floats, Ints
from simulator.plant import Metric, Snapshot
from simulator.pod_groups import PodGroup, PodGroups
from simulator.settings import Settings

PERCENT: Final = 100
_ROUNDING_PERCENT: Final = 1e-6
_MILLI: Final = 1000
_HAIR: Final = 1 + 4 * np.finfo(np.float64).eps
"""So that 1.005, which is no double, has 1005 thousandths and not 1004."""
_MOST: Final = np.nextafter(2.0**63, 0)
_TARGETS: Final = {
    "resource": ("utilization", "average_value"),
    "container_resource": ("utilization", "average_value"),
    "pods": ("average_value",),
    "object": ("value", "average_value"),
    "external": ("value", "average_value"),
}
_OF_SNAPSHOTS: Final = frozenset({"cpu", "rate", "latency_p95", "queue"})


def is_whole_percent(share: float) -> bool:
    """Whether a fraction is a whole percent, up to rounding."""
    return abs(share * PERCENT - round(share * PERCENT)) <= _ROUNDING_PERCENT


class MetricSettings(Settings):
    """One metric of an HPA, with one target."""

    type: Literal["resource", "container_resource", "pods", "object", "external"] = Field(
        description="Kubernetes' type: resource, container_resource and pods are means over pods, object and"
        " external are of the whole service."
    )
    name: str = Field(
        min_length=1,
        description="cpu or memory; for the other types also rate, queue, latency_p95, or a metric of the plant's own.",
    )
    container: str | None = Field(
        default=None, min_length=1, description="The one container that a container_resource looks at."
    )
    utilization: float | None = Field(
        default=None,
        ge=0.01,
        le=10,
        description="Used over requested to steer to; a whole percent, such as 0.6.",
    )
    average_value: float | None = Field(
        default=None, ge=0.001, le=1e15, description="Value per pod to steer to: cores of CPU, MiB of memory."
    )
    value: float | None = Field(
        default=None, ge=0.001, le=1e15, description="Value of an object's or external metric to steer to."
    )

    @model_validator(mode="after")
    def _one_target(self) -> MetricSettings:
        given = [
            name for name in ("utilization", "average_value", "value") if getattr(self, name) is not None
        ]
        allowed = _TARGETS[self.type]
        if len(given) != 1 or given[0] not in allowed:
            found = " and ".join(given) or "no target"
            msg = f"{found} of {self.name}: a metric of type {self.type} needs exactly one of {', '.join(allowed)}"
            raise ValueError(msg)
        if (self.container is not None) != (self.type == "container_resource"):
            msg = (
                f"container is {self.container!r}: it is needed for type container_resource, and for no other"
            )
            raise ValueError(msg)
        if self.utilization is not None and not is_whole_percent(self.utilization):
            msg = f"utilization is {self.utilization}: only a whole percent, such as 0.6, is allowed"
            raise ValueError(msg)
        return self

    @property
    def rule(self) -> MetricRule:
        """The metric as the HPA's pass takes it."""
        name = self.name if self.container is None else f"{self.name}/{self.container}"
        return MetricRule(self.type, name, self._target())

    def _target(self) -> UtilizationTarget | AverageValueTarget | WholeTarget:
        if self.utilization is not None:
            return UtilizationTarget(round(self.utilization * PERCENT))
        if self.value is not None:
            return WholeTarget(round(self.value * _MILLI), per_replica=False)
        milli = round((self.average_value or 0) * _MILLI)
        return WholeTarget(milli) if self.type in {"object", "external"} else AverageValueTarget(milli)


def counts_of(snapshot: Snapshot) -> Counts:
    """The pods as the HPA counts them; the ready ones are those that serve, without the ones told to go."""
    there = snapshot.starting + snapshot.ready
    return Counts(snapshot.wanted, there, snapshot.ready, there + snapshot.draining)


def read(rule: MetricRule, snapshot: Snapshot) -> Reading:
    """What the Snapshot says of a metric; None where it does not have it.

    A pods metric that the Plant does not show pod by pod is made of the whole service's: the ready
    pods share it evenly, and those that start have no sample yet.
    """
    if rule.type in {"resource", "container_resource"}:
        return snapshot.pods.get(rule.name)
    groups = snapshot.pods.get(rule.name) if rule.type == "pods" else None
    metric = measured(snapshot, rule.name)
    if groups is not None or metric is None:
        return groups
    usage = usage_of(metric)
    return _shared(usage, metric.age_seconds, snapshot) if rule.type == "pods" else usage


def measured(snapshot: Snapshot, name: str) -> Metric | None:
    """A metric by its name; None where the Plant does not show it."""
    if name in _OF_SNAPSHOTS:
        metric: Metric = getattr(snapshot, name)
        return metric
    return snapshot.metrics.get(name)


def usage_of(metric: Metric) -> Usage:
    """A metric in thousandths, cut to whole ones as KEDA and the Prometheus adapter do; not known where it is NaN."""
    return Usage(milli_of(metric.value), np.isfinite(metric.value))


def milli_of(values: Floats) -> Ints:
    """Thousandths as int64, within its range; 0 for what is not finite."""
    milli = np.where(np.isfinite(values), values, 0.0) * (_MILLI * _HAIR)
    return np.clip(np.trunc(milli), -_MOST, _MOST).astype(np.int64)


def _shared(usage: Usage, age_seconds: Floats, snapshot: Snapshot) -> PodGroups:
    ready, none = snapshot.ready, np.zeros_like(snapshot.ready)
    counted = PodGroup(ready, ready, np.where(ready > 0, usage.milli, 0), none)
    empty = PodGroup(none, none, none, none)
    missing = PodGroup(snapshot.starting, none, none, none)
    return PodGroups(counted, empty, missing, empty, np.where(usage.known, age_seconds, np.nan))
