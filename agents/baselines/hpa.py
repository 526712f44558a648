"""The Kubernetes HorizontalPodAutoscaler v2 as a Policy.

One decision is one pass of upstream's loop (``agents.baselines.hpa_pass``): bounds, a proposal of each
metric, stabilisation, rate policies, bounds again, bookkeeping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from pydantic import Field, field_validator, model_validator

from agents.baselines.hpa_behavior import Bounds
from agents.baselines.hpa_metrics import PERCENT, MetricSettings, counts_of, is_whole_percent, read
from agents.baselines.hpa_pass import Autoscaler, MetricRule, Reading, Rules
from agents.baselines.hpa_proposal import UtilizationTarget
from agents.baselines.hpa_reason import by_service, reasons_of
from agents.baselines.hpa_settings import ScalingSettings
from agents.policy import Context, Mask, by_cluster
from simulator.plant import Desired, Snapshot

VARIED: Final = frozenset({"target", "window"})
"""Settings that the clusters of one Hpa may differ in."""


class HpaSettings(ScalingSettings):
    """Settings of the Kubernetes HPA; fewest and most replicas come from the Context.

    The default target is ``DefaultCPUUtilization`` of kubernetes/kubernetes
    pkg/apis/autoscaling/annotations.go; the other defaults are those of kube-controller-manager's
    flags ``--horizontal-pod-autoscaler-*``.
    """

    target: float = Field(
        default=0.8,
        ge=0.01,
        le=10,
        description="CPU used over CPU requested to steer to; a whole percent, such as 0.6.",
    )
    metrics: tuple[MetricSettings, ...] | None = Field(
        default=None,
        description="What to scale on in place of target, which is CPU used over requested; the metric that"
        " wants most replicas rules.",
    )

    @field_validator("target")
    @classmethod
    def _whole_percent(cls, target: float) -> float:
        if not is_whole_percent(target):
            msg = "only a whole percent, such as 0.6, is allowed"
            raise ValueError(msg)
        return target

    @model_validator(mode="after")
    def _one_target(self) -> HpaSettings:
        if self.metrics == ():
            msg = "metrics is empty: at least one is needed"
            raise ValueError(msg)
        if self.metrics is not None and "target" in self.model_fields_set:
            msg = f"target is {self.target}: only one of target and metrics is allowed, since target is that of cpu"
            raise ValueError(msg)
        return self

    @property
    def target_percent(self) -> int:
        """The target as upstream holds it."""
        return round(self.target * PERCENT)


class Hpa:
    """The Kubernetes HPA, one for all services and clusters; without ``metrics``, on ``snapshot.pods["cpu"]``.

    A metric that is missing (no groups or value, an age that is NaN, no sample left, a pod without a
    request) is left out: what the others want is done, but no scale-down. Where all are missing the
    count is held and nothing is remembered; as upstream, only the bounds still act. The age of the
    samples is not looked at: pods whose samples are too old to trust are grouped as unready or
    missing by the Plant.

    From 0 replicas, where the fewest are 0, object and external metrics scale up; no pod has samples then.

    Changes are remembered where they are seen to have happened; one that a guard cuts or another
    hand changes is not, as if somebody else had made it.

    Args:
        settings: for all clusters, or of each of N, which differ in VARIED alone.
        looks: how many readings of all metrics a pass takes, one after the other; the largest proposal rules.
    """

    def __init__(
        self,
        settings: HpaSettings | Sequence[HpaSettings],
        bounds: Bounds,
        services: tuple[str, ...] = (),
        looks: int = 1,
    ) -> None:
        each = (settings,) if isinstance(settings, HpaSettings) else settings
        self.settings = each[0]
        self._services = services
        rules = _rules_of(each, bounds)
        self._metrics = rules.metrics
        self._autoscaler = Autoscaler(replace(rules, metrics=rules.metrics * looks))

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        return self.settings.period

    def decide(self, snapshot: Snapshot) -> Desired:
        """One pass of the HPA's loop."""
        return self.settle(snapshot, self.read(snapshot))

    def read(self, snapshot: Snapshot) -> list[Reading]:
        """What the metrics' sources say."""
        return [read(rule, snapshot) for rule in self._metrics]

    def settle(self, snapshot: Snapshot, readings: Sequence[Reading]) -> Desired:
        """One pass on readings, of all metrics as often as it looks."""
        now_seconds = np.asarray(snapshot.time_seconds, dtype=np.float64)
        done = self._autoscaler.decide(counts_of(snapshot), readings, now_seconds)
        reason = by_service(reasons_of(done), self._services) if snapshot.wanted.ndim == 1 else ""
        return Desired(done.rescale.replicas, reason)

    def reset(self, mask: Mask | None = None) -> None:
        """Forget proposals and changes; with a mask ``(...)``, only for the clusters where it is True."""
        self._autoscaler.reset(mask)


def _rules_of(each: Sequence[HpaSettings], bounds: Bounds) -> Rules:
    first = each[0]
    if first.metrics is None:
        target = UtilizationTarget(by_cluster([one.target_percent for one in each]))
        metrics: tuple[MetricRule, ...] = (MetricRule("resource", "cpu", target),)
    else:
        metrics = tuple(metric.rule for metric in first.metrics)
    window_seconds = by_cluster([one.window for one in each])
    return Rules(metrics, bounds, first.rules, first.tolerances, window_seconds)


def make_hpa(settings: HpaSettings | Sequence[HpaSettings], context: Context) -> Hpa:
    """An Hpa within the Context's bounds, for all clusters or with settings for each."""
    return Hpa(settings, Bounds(context.min_replicas, context.max_replicas), context.services)
