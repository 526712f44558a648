"""The SLO and what a violation is worth against a dollar."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from simulator.arrays import Floats
from simulator.plant import Interval
from simulator.settings import Settings


class Objective(Settings):
    """Read by rewards, measures and alarms; defined nowhere else."""

    slo_seconds: float = Field(gt=0, le=3600, description="A request that takes longer is a violation.")
    violation_budget: float = Field(gt=0, lt=1, description="Share of the requests that may be violations.")
    usd_per_violation: float = Field(ge=0, description="What a violation is worth in a reward.")

    def loss_usd(self, interval: Interval) -> Floats:
        """Cost plus the worth of the violations: float64 ``(...)``, USD, of all services.

        The interval's first latency threshold must be the SLO.
        """
        violations = interval.requests.late[..., 0].sum(axis=-1)
        return np.asarray(interval.total_usd + self.usd_per_violation * violations)
