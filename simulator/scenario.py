"""A whole world as one frozen value."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, cast

import numpy as np
from pydantic import BeforeValidator, Field, field_validator, model_validator

from simulator.application import Application, load_application
from simulator.cluster_settings import ClusterSettings
from simulator.errors import InputError
from simulator.faults import OF_NODES, AnyFault, Fault, RegionLoss, ServiceFault, StockOut, ZoneLoss
from simulator.generators import ModelSettings
from simulator.nodes import CPU, MIB_PER_GIB, NodeGroup
from simulator.prices import SECONDS_PER_HOUR, Prices
from simulator.processes import ArrivalSettings, PoissonProcess
from simulator.service import Service
from simulator.settings import Settings, is_whole_multiple

if TYPE_CHECKING:
    from simulator.cluster import Cluster
    from simulator.events import Journal
    from simulator.kernel.tables import Log
    from simulator.trace import Trace


class MetricPipeline(Settings):
    """Scrape interval, averaging window and lag; defaults as a Prometheus of 15 s shows them."""

    scrape_seconds: float = Field(default=15.0, gt=0, le=3600, description="Between two scrapes.")
    window_seconds: float = Field(
        default=15.0, gt=0, le=3600, description="What a value is averaged over; whole scrape intervals."
    )
    lag_seconds: float = Field(
        default=15.0, ge=0, le=3600, description="From a scrape until a policy can see it."
    )

    first_scrape_seconds: float | None = Field(
        default=None,
        ge=0,
        le=3600,
        description="When the first scrape is; drawn within an interval if not given.",
    )
    noise: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Relative standard deviation of each value, a pod's usage among them; gamma with mean 1.",
    )
    gap_probability: float = Field(default=0.0, ge=0, lt=1, description="That a scrape is lost.")
    stale_seconds: float = Field(
        default=300.0,
        gt=0,
        le=86_400,
        description="A value older than this, lag not counted, is missing: Prometheus' --query.lookback-delta.",
    )

    @model_validator(mode="after")
    def _whole_scrapes(self) -> MetricPipeline:
        if not is_whole_multiple(self.window_seconds, self.scrape_seconds):
            msg = (
                f"window_seconds ({self.window_seconds:g}) must be a whole number of scrape_seconds "
                f"({self.scrape_seconds:g})"
            )
            raise ValueError(msg)
        return self


class Workload(Settings):
    """Where the load comes from unless a trace is given, and how requests come in it."""

    model: ModelSettings = Field(
        description="The name of a fitted workload model that ships with setpoint, or a made workload by its kind."
    )
    mean_rps: float = Field(gt=0, le=1e7, description="Its long-run mean, requests/s.")
    arrivals: ArrivalSettings = Field(
        default=PoissonProcess(), description="How requests come where only counts are known."
    )

    @field_validator("model")
    @classmethod
    def _ships(cls, model: ModelSettings) -> ModelSettings:
        from simulator.workload import check_model_name

        if isinstance(model, str):
            check_model_name(model)
        return model

    def draw(self, duration_seconds: float, rng: np.random.Generator) -> Trace:
        """A trace drawn from the model."""
        from simulator.workload import load_model

        model = load_model(self.model) if isinstance(self.model, str) else self.model
        return model.draw(duration_seconds, self.mean_rps, rng)


def _shipped(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return load_application(value)
    except InputError as error:
        raise ValueError(str(error)) from None


class Scenario(Settings):
    """Workload, application, cluster, metric pipeline, prices and faults: a whole world."""

    workload: Workload
    service: Service | None = Field(default=None, description="One service that clients call directly.")
    application: Annotated[Application | None, BeforeValidator(_shipped)] = Field(
        default=None,
        description="Services and the calls between them, or the name of one that ships; or service.",
    )
    cluster: ClusterSettings | None = Field(
        default=None, description="The nodes; None: pods need none, and each is billed by itself."
    )
    metrics: MetricPipeline = MetricPipeline()
    prices: Prices | None = Field(default=None, description="Of pods without nodes, which needs it.")
    faults: tuple[AnyFault, ...] = Field(default=(), max_length=1000, description="What breaks.")
    staffing_quality: float = Field(
        default=2.0,
        ge=0,
        le=100,
        description="The cluster starts with ceil(a + quality sqrt(a)) ready slots for the first minute's load a.",
    )

    @model_validator(mode="after")
    def _one_application(self) -> Scenario:
        if (self.service is None) == (self.application is None):
            msg = "one of service and application must be given, and not both"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _one_bill(self) -> Scenario:
        if (self.cluster is None) == (self.prices is None):
            msg = "one of cluster (nodes are paid) and prices (pods are paid) must be given, and not both"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _pods_fit(self) -> Scenario:
        for place, service in enumerate(self.system.services):
            title = (
                "service" if self.application is None else f"application.services.{place} ({service.name})"
            )
            if self.cluster is None:
                for field in ("image", "region"):
                    if getattr(service, field) is not None:
                        msg = f"{title}: {field} needs nodes (give cluster)"
                        raise ValueError(msg)
                if service.gpus_per_pod:
                    msg = f"{title}: gpus_per_pod needs nodes (give cluster)"
                    raise ValueError(msg)
                continue
            groups = [group for group in self.cluster.groups if service.region in {None, group.region}]
            if not groups:
                regions = sorted({group.region for group in self.cluster.groups})
                msg = f"{title}: region is {service.region!r}; cluster.groups are in {', '.join(regions)}"
                raise ValueError(msg)
            if not any(_room(service, group) for group in groups):
                msg = (
                    f"{title}: a pod ({_asked(service)}) fits on no node: {'; '.join(map(_offered, groups))}"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _faults_hit(self) -> Scenario:
        services = [service.name for service in self.system.services]
        groups = self.cluster.groups if self.cluster else ()
        for place, fault in enumerate(self.faults):
            title = f"faults.{place} ({fault.kind})"
            if isinstance(fault, OF_NODES) and not groups:
                msg = f"{title} needs nodes (give cluster)"
                raise ValueError(msg)
            if isinstance(fault, ServiceFault) and fault.service not in {None, *services}:
                msg = f"{title}: service is {fault.service!r}; there are: {', '.join(services)}"
                raise ValueError(msg)
            if isinstance(fault, StockOut) and fault.group not in [group.name for group in groups]:
                names = ", ".join(group.name for group in groups)
                msg = f"{title}: group is {fault.group!r}; there are: {names}"
                raise ValueError(msg)
            if isinstance(fault, RegionLoss | ZoneLoss):
                _check_place(title, fault, groups)
        return self

    @cached_property
    def system(self) -> Application:
        """What is simulated: the application, or the one service as such."""
        if self.application is not None:
            return self.application
        return Application.of(cast("Service", self.service))

    def with_faults(self, faults: Sequence[Fault]) -> Scenario:
        """The same with further faults.

        Raises:
            ValidationError: if one of them hits what is not there.
        """
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return Scenario.model_validate(fields | {"faults": (*self.faults, *faults)})

    def shortages(self) -> list[str]:
        """A line for each service whose fewest pods its node groups cannot hold, alone and at their largest."""
        lines = []
        offered = self.cluster.groups if self.cluster else ()
        for service in self.system.services if offered else ():
            groups = [group for group in offered if service.region in {None, group.region}]
            most = sum(group.max_nodes * _room(service, group) for group in groups)
            if most < service.min_replicas:
                names = ", ".join(group.name for group in groups)
                lines.append(
                    f"{service.name}: min_replicas is {service.min_replicas}, and at most {most} of its pods "
                    f"({_asked(service)}) fit on max_nodes of {names}"
                )
        return lines

    @cached_property
    def usd_per_vcpu_hour(self) -> float:
        """What a vCPU costs: a pod's, or the cheapest node's with all it has for pods."""
        if self.prices is not None:
            return self.prices.usd_per_vcpu_hour
        groups = self.cluster.groups if self.cluster else ()
        per_second = min(group.usd_per_second / group.allocatable[CPU] for group in groups)
        return float(1000 * per_second * SECONDS_PER_HOUR)

    def build(
        self,
        seed: int | np.random.SeedSequence,
        latency_thresholds_seconds: tuple[float, ...],
        trace: Trace,
        log: Log | None = None,
        journal: Journal | None = None,
    ) -> Cluster:
        """A running cluster at time 0.

        Args:
            seed: spawns one stream each for arrivals, service times, start-ups, metrics, pods' and nodes'
                lives, and faults.
            latency_thresholds_seconds: late requests are counted exactly at each.
            trace: the load; time 0 is its first bin's start.
            log: is given every request, as ``simulator.kernel.tables.LOGGED``.
            journal: is given every event of the control plane.
        """
        from simulator.cluster import Cluster

        return Cluster(self, seed, latency_thresholds_seconds, trace, log, journal)


def _room(service: Service, group: NodeGroup) -> int:
    """How many of the service's pods fit on an empty node."""
    request = (
        round(1000 * service.vcpu_per_pod),
        round(MIB_PER_GIB * service.memory.request_gib),
        service.gpus_per_pod,
        1,
    )
    return min(int(have) // need for have, need in zip(group.allocatable, request, strict=True) if need)


def _asked(service: Service) -> str:
    gpus = f", {service.gpus_per_pod} GPUs" if service.gpus_per_pod else ""
    return f"vcpu_per_pod {service.vcpu_per_pod:g}, memory.request_gib {service.memory.request_gib:g}{gpus}"


def _offered(group: NodeGroup) -> str:
    milli, mib, gpus, _ = group.allocatable.tolist()
    return f"{group.name} has {milli / 1000:g} vCPU, {mib / MIB_PER_GIB:g} GiB and {gpus} GPUs for pods"


def _check_place(title: str, fault: RegionLoss | ZoneLoss, groups: tuple[NodeGroup, ...]) -> None:
    """Raises ValueError where no node group is in a fault's region or zone."""
    zone = fault.zone if isinstance(fault, ZoneLoss) else None
    if not any(group.region == fault.region and zone in {None, group.zone} for group in groups):
        places = sorted({f"{group.region}/{group.zone}" for group in groups})
        msg = (
            f"{title}: there is no node group in {fault.region}/{zone or '*'}; there are: {', '.join(places)}"
        )
        raise ValueError(msg)
