"""Nodes: groups of instances, what each has room for, and what they cost."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from pydantic import Field, model_validator

from simulator.arrays import Floats, Ints
from simulator.delay import Delay
from simulator.prices import SECONDS_PER_HOUR, find_instance_type
from simulator.settings import Settings

CPU, MEMORY, GPUS, PODS = range(4)
"""Resources, axis R: thousandths of a vCPU, MiB, GPUs, pods."""

BOOTING, READY, DRAINING, GONE = range(4)
"""Phases of a node: launched and not registered; takes pods; cordoned; no more."""

MIB_PER_GIB = 1024


class Spot(Settings):
    """Spare capacity: cheap, and taken back."""

    price_share: float = Field(
        default=0.35,
        gt=0,
        le=1,
        description="Its price over the on-demand price; AWS says up to 90 % off, 50 to 70 % are common.",
    )
    interruptions_per_hour: float = Field(
        default=0.02,
        ge=0,
        le=60,
        description="Hazard of an interruption a node; AWS' Spot Instance Advisor has 5 to 20 % a month for most "
        "types, capacity-starved GPUs several a day.",
    )
    notice_seconds: float = Field(
        default=120.0,
        ge=0,
        le=600,
        description="From notice to loss: AWS 120 s, Google Cloud and Azure 30 s.",
    )


class NodeGroup(Settings):
    """Instances of one type in one zone."""

    name: str = Field(min_length=1, pattern=r"^[^\s.]+$", description="Its name in tables and plots.")
    instance_type: str | None = Field(
        default=None,
        description="From the price table, which gives vcpu, memory_gib, gpus and usd_per_hour unless they are given.",
    )
    vcpu: float | None = Field(default=None, gt=0, le=1024, description="vCPUs of an instance.")
    memory_gib: float | None = Field(default=None, gt=0, le=65_536, description="Memory of an instance.")
    gpus: int | None = Field(default=None, ge=0, le=64, description="GPUs of an instance.")
    usd_per_hour: float | None = Field(
        default=None, ge=0, le=10_000, description="On-demand price of an instance in this region and zone."
    )
    reserved_vcpu: float | None = Field(
        default=None,
        ge=0,
        description="Kept for the system; None is EKS' rule: 6 % of the first core, 1 % of the second, 0.5 % of two "
        "more, 0.25 % of all others.",
    )
    reserved_memory_gib: float | None = Field(
        default=None,
        ge=0,
        description="Kept for the system; None is EKS' rule: 255 MiB and 11 MiB for each of max_pods, 1.4 GiB for 110.",
    )
    max_pods: int = Field(
        default=110, ge=1, le=1000, description="Most pods a node; Kubernetes' default is 110."
    )
    min_nodes: int = Field(default=0, ge=0, le=100_000, description="Fewest nodes.")
    max_nodes: int = Field(default=100, ge=1, le=100_000, description="Most nodes.")
    initial_nodes: int | None = Field(
        default=None,
        ge=0,
        description="Ready nodes at the start; as many as the first pods need if not given.",
    )
    boot: Delay = Field(
        default=Delay(p50_seconds=60.0, p95_seconds=120.0),
        description="From launch to a node that takes pods: 40 s to 4 min on the three large clouds.",
    )
    shutdown_seconds: float = Field(
        default=30.0,
        ge=0,
        le=600,
        description="From the end of its last pod until it is gone and costs nothing.",
    )
    region: str = Field(default="region", min_length=1, description="Where it is.")
    zone: str = Field(default="a", min_length=1, description="Where in the region.")
    latency_seconds: float = Field(
        default=0.0, ge=0, le=10, description="Added to each answer of a pod here: the way into this zone."
    )
    spot: Spot | None = Field(default=None, description="None: on demand, never taken back.")
    stock_out_probability: float = Field(
        default=0.0, ge=0, le=1, description="That a launch is refused for want of capacity."
    )
    priority: int = Field(default=0, description="For the expander priority: higher ones are taken first.")

    @model_validator(mode="after")
    def _known(self) -> NodeGroup:
        known = find_instance_type(self.instance_type) if self.instance_type else None
        for field in ("vcpu", "memory_gib", "usd_per_hour"):
            if known is None and getattr(self, field) is None:
                msg = (
                    f"node group {self.name!r}: {field} must be given, or an instance_type of the price table"
                )
                raise ValueError(msg)
        if self.max_nodes < self.min_nodes:
            msg = f"max_nodes ({self.max_nodes}) must be at least min_nodes ({self.min_nodes})"
            raise ValueError(msg)
        if self.initial_nodes is not None and not self.min_nodes <= self.initial_nodes <= self.max_nodes:
            msg = (
                f"initial_nodes ({self.initial_nodes}) must be within min_nodes and max_nodes "
                f"({self.min_nodes} to {self.max_nodes})"
            )
            raise ValueError(msg)
        if (self.allocatable[: MEMORY + 1] <= 0).any():
            msg = (
                f"node group {self.name!r}: reserved_vcpu and reserved_memory_gib leave nothing for pods "
                f"(if not given, max_pods, {self.max_pods}, rules how much memory is kept)"
            )
            raise ValueError(msg)
        return self

    @property
    def allocatable(self) -> Ints:
        """int64 ``(R,)``; what pods may request of a node."""
        return np.array(self._allocatable)

    @cached_property
    def _allocatable(self) -> tuple[int, int, int, int]:
        known = find_instance_type(self.instance_type) if self.instance_type else None
        vcpu = self.vcpu if self.vcpu is not None or known is None else known.vcpu
        memory = self.memory_gib if self.memory_gib is not None or known is None else known.memory_gib
        gpus = self.gpus if self.gpus is not None or known is None else known.gpus
        kept_vcpu, kept_gib = self.reserved_vcpu, self.reserved_memory_gib
        kept_milli = _kept_milli(vcpu or 0.0) if kept_vcpu is None else 1000 * kept_vcpu
        kept_mib = _kept_mib(self.max_pods) if kept_gib is None else MIB_PER_GIB * kept_gib
        return (
            round(1000 * (vcpu or 0.0) - kept_milli),
            round(MIB_PER_GIB * (memory or 0.0) - kept_mib),
            gpus or 0,
            self.max_pods,
        )

    @cached_property
    def usd_per_second(self) -> float:
        """What a node costs, spot or on demand."""
        known = find_instance_type(self.instance_type) if self.instance_type else None
        usd = self.usd_per_hour if self.usd_per_hour is not None or known is None else known.usd_per_hour
        return (usd or 0.0) * (self.spot.price_share if self.spot else 1.0) / SECONDS_PER_HOUR


def _kept_milli(vcpu: float) -> float:
    """Thousandths of a vCPU that EKS keeps for the system.

    Source: awslabs/amazon-eks-ami, get_cpu_millicores_to_reserve.
    """
    steps = ((0.0, 1.0, 60.0), (1.0, 2.0, 10.0), (2.0, 4.0, 5.0), (4.0, float("inf"), 2.5))
    return sum(milli * max(min(vcpu, end) - begin, 0.0) for begin, end, milli in steps)


def _kept_mib(max_pods: int) -> float:
    """MiB that EKS keeps for the system.

    Source: awslabs/amazon-eks-ami, get_memory_mebibytes_to_reserve.
    """
    return 255.0 + 11.0 * max_pods


class Nodes:
    """All nodes of a cluster by row: their group, their phase, what is left on each, and the bill.

    Args:
        groups: G node groups.
        minimum_billed_seconds: each node costs at least so long.
    """

    def __init__(self, groups: tuple[NodeGroup, ...], minimum_billed_seconds: float) -> None:
        self.groups = groups
        self._minimum = minimum_billed_seconds
        self.allocatable = np.array([group.allocatable for group in groups]).reshape(-1, PODS + 1)
        """int64 ``(G, R)``; what pods may request of a new node."""
        self.prices = np.array([group.usd_per_second for group in groups])
        """float64 ``(G,)``; USD a second."""
        self.zones = sorted({(group.region, group.zone) for group in groups})
        """Region and zone, axis Z."""
        self.zone_of_group = np.array([self.zones.index((g.region, g.zone)) for g in groups], dtype=np.int64)
        """int64 ``(G,)``; place in zones."""
        self.count = 0
        """Rows in use; a row is never used again."""
        self.group = np.zeros(16, dtype=np.int64)
        self.phase = np.full(16, GONE)
        self.zone = np.zeros(16, dtype=np.int64)
        self.launched = np.zeros(16)
        self.ready = np.full(16, np.inf)
        self.gone = np.full(16, np.inf)
        self.capacity = np.zeros((16, PODS + 1), dtype=np.int64)
        self.requested = np.zeros((16, PODS + 1), dtype=np.int64)

    def add(self, group: int, now: float) -> int:
        """A row for a node that is launched now."""
        row = self.count
        if row == len(self.phase):
            self._grow()
        self.count += 1
        self.group[row] = group
        self.zone[row] = self.zone_of_group[group]
        self.phase[row] = BOOTING
        self.launched[row] = now
        self.capacity[row] = self.allocatable[group]
        return row

    def _grow(self) -> None:
        for name in ("group", "phase", "zone", "launched", "ready", "gone", "capacity", "requested"):
            column = getattr(self, name)
            fill = {"phase": GONE, "ready": np.inf, "gone": np.inf}.get(name, 0)
            setattr(self, name, np.concatenate([column, np.full_like(column, fill)]))

    def rows(self, *phases: int) -> Ints:
        """Rows of the nodes in some phases, in the order of their launch."""
        phase = self.phase[: self.count]
        inside = phase == phases[0]
        for other in phases[1:]:
            inside |= phase == other
        return np.flatnonzero(inside)

    def count_by_group(self, *phases: int) -> Ints:
        """int64 ``(G,)``; nodes in some phases."""
        return np.bincount(self.group[self.rows(*phases)], minlength=len(self.groups))

    def of_group(self, group: int, *phases: int) -> Ints:
        """Rows of a group's nodes in some phases."""
        rows = self.rows(*phases)
        return np.asarray(rows[self.group[rows] == group])

    def cost_usd(self, now: float) -> Floats:
        """float64 ``(G,)``; what the nodes have cost since the beginning: launch to gone, by the second."""
        rows = slice(0, self.count)
        billed = np.maximum(np.minimum(self.gone[rows], now) - self.launched[rows], self._minimum)
        seconds = np.bincount(self.group[rows], weights=billed, minlength=len(self.groups))
        return np.asarray(seconds * self.prices)

    def seconds(self, now: float) -> Floats:
        """float64 ``(G,)``; node-seconds since the beginning."""
        rows = slice(0, self.count)
        alive = np.minimum(self.gone[rows], now) - self.launched[rows]
        seconds = np.bincount(self.group[rows], weights=alive, minlength=len(self.groups))
        return np.asarray(seconds, dtype=np.float64)
