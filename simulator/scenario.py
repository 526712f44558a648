"""A whole world as one frozen value."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, cast

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from simulator.application import Application, load_application
from simulator.errors import InputError
from simulator.generators import ModelSettings
from simulator.processes import ArrivalSettings, PoissonProcess
from simulator.service import Service
from simulator.settings import Settings, is_whole_multiple

if TYPE_CHECKING:
    from simulator.cluster import Cluster
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

    def draw(self, duration_seconds: float, rng: np.random.Generator) -> Trace:
        """A trace drawn from the model."""
        from simulator.workload import load_model

        model = load_model(self.model) if isinstance(self.model, str) else self.model
        return model.draw(duration_seconds, self.mean_rps, rng)


class Prices(Settings):
    """What a pod costs."""

    usd_per_vcpu_hour: float = Field(ge=0, le=1000, description="From a pod's creation until it is gone.")


def _shipped(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return load_application(value)
    except InputError as error:
        raise ValueError(str(error)) from None


class Scenario(Settings):
    """Workload, application, metric pipeline and prices: a whole world."""

    workload: Workload
    service: Service | None = Field(default=None, description="One service that clients call directly.")
    application: Annotated[Application | None, BeforeValidator(_shipped)] = Field(
        default=None,
        description="Services and the calls between them, or the name of one that ships; or service.",
    )
    metrics: MetricPipeline = MetricPipeline()
    prices: Prices
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

    @cached_property
    def system(self) -> Application:
        """What is simulated: the application, or the one service as such."""
        if self.application is not None:
            return self.application
        return Application.of(cast("Service", self.service))

    def build(
        self,
        seed: int | np.random.SeedSequence,
        latency_thresholds_seconds: tuple[float, ...],
        trace: Trace,
        log: Log | None = None,
    ) -> Cluster:
        """A running cluster at time 0.

        Args:
            seed: spawns one stream each for arrivals, service times, start-ups and metrics.
            latency_thresholds_seconds: late requests are counted exactly at each.
            trace: the load; time 0 is its first bin's start.
            log: is given every request, as ``simulator.kernel.tables.LOGGED``.
        """
        from simulator.cluster import Cluster

        return Cluster(self, seed, latency_thresholds_seconds, trace, log)
