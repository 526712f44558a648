"""A whole world as one frozen value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, model_validator

from simulator.service import Service
from simulator.settings import Settings, is_whole_multiple

if TYPE_CHECKING:
    from simulator.cluster import Cluster
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
    """Where the load comes from unless a trace is given."""

    model: str = Field(description="A fitted workload model that ships with setpoint.")
    mean_rps: float = Field(gt=0, le=1e7, description="Its long-run mean, requests/s.")

    def draw(self, duration_seconds: float, rng: np.random.Generator) -> Trace:
        """A trace drawn from the model."""
        from simulator.workload import load_model

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
            seed: spawns one stream each for arrivals, service times, start-ups and metrics.
            latency_thresholds_seconds: late requests are counted exactly at each.
            trace: the load; time 0 is its first bin's start.
        """
        from simulator.cluster import Cluster

        return Cluster(self, seed, latency_thresholds_seconds, trace)
