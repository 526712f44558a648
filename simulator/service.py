"""Services: their capacity, service-time law and start-up law."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field, model_validator

from simulator.laws.law import ServiceTimeLaw
from simulator.plant import Floats
from simulator.settings import Settings

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


class Service(Settings):
    """One thing with replicas."""

    name: str = Field(default="web", min_length=1, description="Its name in tables and plots.")
    slots_per_pod: int = Field(ge=1, le=10_000, description="Requests a pod serves at once.")
    vcpu_per_pod: float = Field(
        gt=0, le=1024, description="CPU request of a pod; all slots busy use all of it."
    )
    service_time: ServiceTimeLaw = Field(description="How long a slot works on a request.")
    start_up: StartUpLaw = Field(description="How long a pod takes from creation to ready.")
    drain_grace_seconds: float = Field(
        default=30.0, ge=0, le=3600, description="How long a pod that was told to go may finish its requests."
    )
    min_replicas: int = Field(ge=0, le=100_000, description="Fewest replicas.")
    max_replicas: int = Field(ge=1, le=100_000, description="Most replicas.")

    @model_validator(mode="after")
    def _bounds(self) -> Service:
        if self.max_replicas < self.min_replicas:
            msg = f"max_replicas ({self.max_replicas}) must be at least min_replicas ({self.min_replicas})"
            raise ValueError(msg)
        return self

    @property
    def capacity_rps(self) -> float:
        """Requests/s that one pod can serve at most."""
        return self.slots_per_pod / self.service_time.mean_seconds
