"""Services: their capacity, what they do for a call, and their start-up law."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import Field, model_validator

from simulator.delay import Delay
from simulator.laws.law import ServiceTimeLaw
from simulator.operation import Operation
from simulator.settings import Settings

DispatchRule = Literal["shared", "round_robin", "random", "least_requests", "two_choices"]
"""How a request finds a pod: ``simulator.dispatch`` has a file for each."""


class StartUpLaw(Delay):
    """From a pod's creation to ready; where its image is pulled by itself, from there."""

    pending_share: float = Field(
        default=0.92,
        ge=0,
        le=1,
        description="Share of the start-up that a pod is Pending (scheduled and pulled); the rest it runs "
        "without being ready. 0.92 is the pull's share where a start takes 25 s with and 2 s without it. "
        "Not used where the image is pulled by itself.",
    )


class ImagePull(Delay):
    """How long a node takes to pull the image; one at a time, and once only."""


class Memory(Settings):
    """What a pod requests, what it may use at most, and what it uses."""

    request_gib: float = Field(default=0.5, gt=0, le=65_536, description="Memory request of a pod.")
    limit_gib: float | None = Field(
        default=None,
        gt=0,
        le=65_536,
        description="Above it the container is killed; the request if not given.",
    )
    base_gib: float = Field(default=0.0, ge=0, le=65_536, description="What a pod uses without requests.")
    gib_per_request: float = Field(
        default=0.0, ge=0, le=65_536, description="What each request that it has adds."
    )

    @property
    def most_gib(self) -> float:
        """The limit."""
        return self.request_gib if self.limit_gib is None else self.limit_gib

    @model_validator(mode="after")
    def _ordered(self) -> Memory:
        if not self.base_gib < self.most_gib or self.most_gib < self.request_gib:
            msg = (
                f"limit_gib ({self.most_gib:g}) must be above base_gib ({self.base_gib:g}) and at least "
                f"request_gib ({self.request_gib:g})"
            )
            raise ValueError(msg)
        return self


class WarmUp(Settings):
    """A ready pod that is slow at first: caches are cold, code is not compiled yet."""

    seconds: float = Field(gt=0, le=3600, description="How long.")
    speed: float = Field(gt=0, lt=1, description="Work that it does with the same CPU, over the usual.")


class RollOut(Settings):
    """How pods of a new version replace the old ones; defaults are those of a Deployment."""

    max_surge: float = Field(
        default=0.25, ge=0, le=1, description="Pods above the wanted, a share, rounded up."
    )
    max_unavailable: float = Field(
        default=0.25, ge=0, le=1, description="Pods below the wanted that are ready, a share, rounded down."
    )


class Shedding(Settings):
    """When a service turns requests away."""

    after_waiting_seconds: float = Field(
        gt=0, le=3600, description="While a request has waited longer than this, new ones are dropped."
    )
    spares_priority: int | None = Field(
        default=None, ge=0, le=7, description="Classes of this priority and above are taken in all the same."
    )


class HealthCheck(Settings):
    """When calls that have a fallback stop going to a service, and when they come back."""

    every_seconds: float = Field(
        default=10.0, gt=0, le=3600, description="Between two checks; load balancers have 5 to 30 s."
    )
    threshold: int = Field(default=3, ge=1, le=100, description="Checks in a row that make it so.")


class Service(Settings):
    """One thing with replicas."""

    name: str = Field(
        default="web", min_length=1, pattern=r"^[^.]+$", description="Its name in tables and plots; no dots."
    )
    slots_per_pod: int = Field(ge=1, le=10_000, description="Requests a pod serves at once.")
    vcpu_per_pod: float = Field(
        gt=0,
        le=1024,
        description="CPU request of a pod, and its limit if there is no other; all slots at work use all of it.",
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
    vcpu_limit_per_pod: float | None = Field(
        default=None,
        gt=0,
        le=1024,
        description="Processor sharing only: CPU limit of a pod, vcpu_per_pod if not given. Where the requests of a "
        "node's pods fill it, each pod gets its request.",
    )
    gpus_per_pod: int = Field(default=0, ge=0, le=64, description="GPUs that a pod requests.")
    memory: Memory = Field(default=Memory(), description="Memory of a pod.")
    region: str | None = Field(default=None, description="Its pods run on nodes of this region only.")
    image: ImagePull | None = Field(
        default=None, description="Needs nodes: the image's pull. None: start_up has it."
    )
    start_up: StartUpLaw = Field(description="How long a pod takes from creation to ready.")
    start_cpu_share: float = Field(
        default=0.0, ge=0, le=1, description="Share of its CPU limit that a pod uses while it starts."
    )
    warm_up: WarmUp | None = Field(default=None, description="None: as fast at once.")
    roll_out: RollOut = Field(default=RollOut(), description="How a new version comes.")
    health_check: HealthCheck = Field(
        default=HealthCheck(), description="How soon calls go to their fallback while it has no ready pod."
    )
    wakes: bool = Field(
        default=False,
        description="While requests come, the platform keeps one pod whatever is asked for, as Knative does; so zero "
        "is reached some time after the last one, and the first one wakes it.",
    )
    stays_seconds: float = Field(
        default=90.0,
        ge=0,
        le=86_400,
        description="Where it wakes: how long after the last request. Knative: a window of 60 s, a grace of 30 s.",
    )
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
        if self.vcpu_limit_per_pod is not None:
            if self.discipline != "processor_sharing":
                msg = f"service {self.name!r}: vcpu_limit_per_pod needs discipline processor_sharing"
                raise ValueError(msg)
            if self.vcpu_limit_per_pod < self.vcpu_per_pod:
                msg = (
                    f"service {self.name!r}: vcpu_limit_per_pod ({self.vcpu_limit_per_pod:g}) must be at least "
                    f"vcpu_per_pod ({self.vcpu_per_pod:g})"
                )
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
    def most_vcpu(self) -> float:
        """CPU limit of a pod."""
        return self.vcpu_per_pod if self.vcpu_limit_per_pod is None else self.vcpu_limit_per_pod

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
