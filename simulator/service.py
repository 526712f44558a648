"""Services: their capacity, what they do for a call, and their start-up law."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from simulator.laws.law import ServiceTimeLaw
from simulator.operation import Operation
from simulator.plant import Floats
from simulator.settings import Settings

DispatchRule = Literal["shared", "round_robin", "random", "least_requests", "two_choices"]
"""How a request finds a pod: ``simulator.dispatch`` has a file for each."""

_Z95 = 1.6448536269514722


class StartUpLaw(Settings):
    """From a pod's creation to ready: lognormal, given by two percentiles."""

    p50_seconds: float = Field(gt=0, le=3600, description="Median time from creation to ready.")
    p95_seconds: float = Field(gt=0, le=3600, description="95th percentile of that time.")
    pending_share: float = Field(
        default=0.92,
        ge=0,
        le=1,
        description="Share of the start-up that a pod is Pending (scheduled and pulled); the rest it runs "
        "without being ready. 0.92 is the pull's share where a start takes 25 s with and 2 s without it.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> StartUpLaw:
        if self.p95_seconds < self.p50_seconds:
            msg = f"p95_seconds ({self.p95_seconds:g}) must be at least p50_seconds ({self.p50_seconds:g})"
            raise ValueError(msg)
        return self

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """float64 ``(size,)``, seconds."""
        sigma = math.log(self.p95_seconds / self.p50_seconds) / _Z95
        return rng.lognormal(math.log(self.p50_seconds), sigma, size)


class Shedding(Settings):
    """When a service turns requests away."""

    after_waiting_seconds: float = Field(
        gt=0, le=3600, description="While a request has waited longer than this, new ones are dropped."
    )
    spares_priority: int | None = Field(
        default=None, ge=0, le=7, description="Classes of this priority and above are taken in all the same."
    )


class Service(Settings):
    """One thing with replicas."""

    name: str = Field(
        default="web", min_length=1, pattern=r"^[^.]+$", description="Its name in tables and plots; no dots."
    )
    slots_per_pod: int = Field(ge=1, le=10_000, description="Requests a pod serves at once.")
    vcpu_per_pod: float = Field(
        gt=0, le=1024, description="CPU request and limit of a pod; all slots at work use all of it."
    )
    discipline: Literal["slots", "processor_sharing", "batching"] = Field(
        default="slots",
        description="slots: each works at its own pace; processor_sharing: requests are threads that share the CPU; "
        "batching: requests at work are one batch, all served in each step, as by servers of language models.",
    )
    batch_slowdown: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Batching only: by how much of its own length each further request at work makes a step "
        "longer; 1 is no gain from batching.",
    )
    cfs_throttling: bool = Field(
        default=False,
        description="Processor sharing only: threads run at full speed until the pod's CPU of a period of 100 ms "
        "is used, and stand still for its rest.",
    )
    service_time: ServiceTimeLaw | None = Field(
        default=None, description="Work of a request; for a service of one operation that calls nobody."
    )
    operations: tuple[Operation, ...] = Field(
        default=(), max_length=100, description="What it does by kind of call; instead of service_time."
    )
    holds_slot_while_calling: bool = Field(
        default=True,
        description="Whether a request keeps its slot while its own calls are out (a thread each).",
    )
    dispatch: DispatchRule = Field(
        default="shared", description="One queue for all pods, or which pod's queue a request joins."
    )
    queue_limit_per_pod: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="Requests that may wait; more are dropped. No limit if not given.",
    )
    shedding: Shedding | None = Field(default=None, description="None: nothing is shed.")
    discards_expired: bool = Field(
        default=False,
        description="Whether a waiting request whose caller has given up is thrown away unserved.",
    )
    start_up: StartUpLaw = Field(description="How long a pod takes from creation to ready.")
    drain_grace_seconds: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="How long a pod that was told to go may finish its requests; Kubernetes' default is 30 s.",
    )
    min_replicas: int = Field(ge=0, le=100_000, description="Fewest replicas.")
    max_replicas: int = Field(ge=1, le=100_000, description="Most replicas.")

    @model_validator(mode="after")
    def _bounds(self) -> Service:
        if self.max_replicas < self.min_replicas:
            msg = f"max_replicas ({self.max_replicas}) must be at least min_replicas ({self.min_replicas})"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _one_way_to_say_its_work(self) -> Service:
        if (self.service_time is None) == (not self.operations):
            msg = f"service {self.name!r}: one of service_time and operations must be given, and not both"
            raise ValueError(msg)
        names = [operation.name for operation in self.operations]
        if len(set(names)) < len(names):
            msg = f"service {self.name!r}: operations must have different names (they are {', '.join(names)})"
            raise ValueError(msg)
        if self.batch_slowdown and self.discipline != "batching":
            msg = f"service {self.name!r}: batch_slowdown needs discipline batching"
            raise ValueError(msg)
        if self.cfs_throttling and self.discipline != "processor_sharing":
            msg = f"service {self.name!r}: cfs_throttling needs discipline processor_sharing"
            raise ValueError(msg)
        return self

    @cached_property
    def all_operations(self) -> tuple[Operation, ...]:
        """Its operations, at least one."""
        return self.operations or (Operation.model_validate({"service_time": self.service_time}),)

    @property
    def full_batch_slowdown(self) -> float:
        """How many times as long as alone a request works when all slots of its pod do, if they are a batch."""
        return 1.0 + self.batch_slowdown * (self.slots_per_pod - 1)

    @property
    def is_one_queue(self) -> bool:
        """Whether it is no more than slots behind one queue without a limit."""
        return (
            self.discipline == "slots"
            and len(self.all_operations) == 1
            and not self.all_operations[0].steps
            and self.dispatch == "shared"
            and self.queue_limit_per_pod is None
            and self.shedding is None
        )
