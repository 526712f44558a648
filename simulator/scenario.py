"""A whole world as one frozen value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from simulator.metrics import MetricPipeline
from simulator.service import Service, Settings

if TYPE_CHECKING:
    from simulator.cluster import Cluster
    from simulator.trace import Trace


class Workload(Settings):
    """Where the load comes from unless a trace is given."""

    model: str = Field(description="A fitted workload model that ships with setpoint.")
    mean_rps: float = Field(gt=0, le=1e7, description="Its long-run mean, requests/s.")

    def draw(self, duration_seconds: float, rng: np.random.Generator) -> Trace:
        """A trace drawn from the model."""
        from simulator.workload import load_model  # noqa: PLC0415 - needs scipy, which a controller has not

        return load_model(self.model).draw(duration_seconds, self.mean_rps, rng)


class Prices(Settings):
    """What a pod costs."""

    usd_per_vcpu_hour: float = Field(ge=0, le=1000, description="From a pod's creation until it is gone.")


class Scenario(Settings):
    """Workload, service, metric pipeline and prices: a whole world."""

    workload: Workload
    service: Service
    metrics: MetricPipeline = MetricPipeline()
    prices: Prices
    staffing_quality: float = Field(
        default=2.0,
        ge=0,
        le=100,
        description="The cluster starts with ceil(a + quality sqrt(a)) ready slots for the first minute's load a.",
    )

    def build(
        self,
        seed: int | np.random.SeedSequence,
        latency_thresholds_seconds: tuple[float, ...],
        trace: Trace,
    ) -> Cluster:
        """A running cluster at time 0.

        Args:
            seed: spawns one stream each for arrivals, service times and start-ups.
            latency_thresholds_seconds: late requests are counted exactly at each.
            trace: the load; time 0 is its first bin's start.
        """
        from simulator.cluster import Cluster  # noqa: PLC0415 - needs SimPy and numba, which a controller has not

        return Cluster(self, seed, latency_thresholds_seconds, trace)
