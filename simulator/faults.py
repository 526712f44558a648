"""What can break: each kind of fault as settings; ``simulator.injection`` makes them happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from simulator.settings import Settings


class Fault(Settings):
    """When it happens and for how long: at one moment, or again and again by a hazard rate."""

    at_seconds: float | None = Field(default=None, ge=0, description="When it begins; or per_hour.")
    per_hour: float | None = Field(
        default=None, gt=0, le=3600, description="Hazard rate: how often it begins while it is not there."
    )
    duration_seconds: float = Field(default=300.0, ge=0, le=31_536_000, description="How long it lasts.")

    @model_validator(mode="after")
    def _one_time(self) -> Fault:
        if (self.at_seconds is None) == (self.per_hour is None):
            msg = "one of at_seconds and per_hour must be given, and not both"
            raise ValueError(msg)
        return self


class ServiceFault(Fault):
    """A fault of one service's pods, or of all."""

    service: str | None = Field(default=None, description="Which service's pods; all if not given.")


class PodKill(ServiceFault):
    """Ready pods are killed: what they were doing fails, and they are replaced."""

    kind: Literal["pod_kill"] = "pod_kill"
    duration_seconds: float = Field(default=0.0, ge=0, le=0, description="It is over at once.")
    count: int = Field(default=1, ge=1, le=100_000, description="How many, drawn among the ready ones.")


class NodeLoss(Fault):
    """Nodes die with all that is on them."""

    kind: Literal["node_loss"] = "node_loss"
    duration_seconds: float = Field(default=0.0, ge=0, le=0, description="It is over at once.")
    count: int = Field(default=1, ge=1, le=100_000, description="How many, drawn among those that take pods.")


class ZoneLoss(Fault):
    """All nodes of a zone die, and none can be launched there while it lasts."""

    kind: Literal["zone_loss"] = "zone_loss"
    region: str = Field(default="region", description="The region that the zone is in.")
    zone: str = Field(description="The zone.")


class RegionLoss(Fault):
    """All nodes of a region die, and none can be launched there while it lasts."""

    kind: Literal["region_loss"] = "region_loss"
    region: str = Field(description="The region.")


class StockOut(Fault):
    """Launches in a node group are refused."""

    kind: Literal["stock_out"] = "stock_out"
    group: str = Field(description="The node group.")


class SlowStart(ServiceFault):
    """Pods that begin to start take longer."""

    kind: Literal["slow_start"] = "slow_start"
    factor: float = Field(default=3.0, ge=1, le=1000, description="Times the usual start-up.")


class StuckPull(ServiceFault):
    """Image pulls stand still until it is over, then take their time."""

    kind: Literal["stuck_pull"] = "stuck_pull"


class Latency(ServiceFault):
    """Answers of the pods arrive late; neither slot nor CPU is taken for it."""

    kind: Literal["latency"] = "latency"
    delay_seconds: float = Field(default=0.1, gt=0, le=600, description="Added to each answer.")


class CpuStarvation(ServiceFault):
    """The pods get only a part of their CPU."""

    kind: Literal["cpu_starvation"] = "cpu_starvation"
    share: float = Field(default=0.5, gt=0, lt=1, description="What is left of it.")


class MemoryLeak(ServiceFault):
    """The pods use more and more memory; restarted ones begin anew."""

    kind: Literal["memory_leak"] = "memory_leak"
    duration_seconds: float = Field(default=3600.0, ge=0, le=31_536_000, description="How long it grows.")
    gib_per_hour: float = Field(default=1.0, gt=0, le=10_000, description="How fast, a pod.")


class MetricOutage(Fault):
    """There are no metrics at all."""

    kind: Literal["metric_outage"] = "metric_outage"


class MetricStaleness(Fault):
    """Metrics stay as they were, and get older."""

    kind: Literal["metric_staleness"] = "metric_staleness"


class ApiRefusal(Fault):
    """Calls that change what is wanted are refused."""

    kind: Literal["api_refusal"] = "api_refusal"
    probability: float = Field(default=1.0, gt=0, le=1, description="Of a call.")


class BadRelease(ServiceFault):
    """A new version is rolled out that fails or is slow; at the end it is rolled back."""

    kind: Literal["bad_release"] = "bad_release"
    error_probability: float = Field(
        default=0.1, ge=0, le=1, description="Of a call to a pod of the new version."
    )
    slowness: float = Field(
        default=1.0, ge=1, le=1000, description="Times the CPU that a request needs there."
    )


KINDS: dict[str, type[Fault]] = {
    kind.model_fields["kind"].default: kind
    for kind in (
        PodKill,
        NodeLoss,
        ZoneLoss,
        RegionLoss,
        StockOut,
        SlowStart,
        StuckPull,
        Latency,
        CpuStarvation,
        MemoryLeak,
        MetricOutage,
        MetricStaleness,
        ApiRefusal,
        BadRelease,
    )
}
"""All faults, by kind."""

AnyFault = Annotated[
    PodKill
    | NodeLoss
    | ZoneLoss
    | RegionLoss
    | StockOut
    | SlowStart
    | StuckPull
    | Latency
    | CpuStarvation
    | MemoryLeak
    | MetricOutage
    | MetricStaleness
    | ApiRefusal
    | BadRelease,
    Field(discriminator="kind"),
]

OF_NODES = (NodeLoss, ZoneLoss, RegionLoss, StockOut)
"""Those that need nodes."""

OF_ANSWERS = (Latency, BadRelease)
"""Those that need the general data plane."""


@dataclass(frozen=True, slots=True)
class FaultLabel:
    """One fault that has happened, for detectors to be trained and judged on.

    Attributes:
        end_seconds: inf while it goes on.
        service: whose pods, empty where it is not of a service's.
    """

    kind: str
    start_seconds: float
    end_seconds: float
    service: str
