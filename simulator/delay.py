"""How long something takes: lognormal, given by two percentiles."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field, model_validator

from simulator.arrays import Floats
from simulator.settings import Settings

_Z95 = 1.6448536269514722


class Delay(Settings):
    """A lognormal time; it is always the same where both percentiles are."""

    p50_seconds: float = Field(gt=0, le=3600, description="Median.")
    p95_seconds: float = Field(gt=0, le=3600, description="95th percentile.")

    @model_validator(mode="after")
    def _ordered(self) -> Delay:
        if self.p95_seconds < self.p50_seconds:
            msg = f"p95_seconds ({self.p95_seconds:g}) must be at least p50_seconds ({self.p50_seconds:g})"
            raise ValueError(msg)
        return self

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm."""
        return math.log(self.p95_seconds / self.p50_seconds) / _Z95

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """float64 ``(size,)``, seconds."""
        return rng.lognormal(math.log(self.p50_seconds), self.sigma, size)
