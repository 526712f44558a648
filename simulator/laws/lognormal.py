"""Lognormal times: what most measured services show, many short and few long."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from simulator.arrays import Floats
from simulator.settings import Settings

CODE = 2


class LognormalLaw(Settings):
    """Lognormal service times."""

    law: Literal["lognormal"] = "lognormal"
    mean_seconds: float = Field(gt=0, le=3600, description="Mean service time, seconds.")
    scv: float = Field(default=1.0, gt=0, le=100, description="Squared coefficient of variation.")

    @property
    def code(self) -> int:
        """Which compiled draw is this law's."""
        return CODE

    def parameters(self) -> tuple[float, ...]:
        """What the compiled draw reads: mean and standard deviation of the logarithm."""
        variance = math.log1p(self.scv)
        return math.log(self.mean_seconds) - variance / 2, math.sqrt(variance)

    def survival(self, seconds: Floats) -> Floats:
        """The probability to exceed each time: float64 of the same shape."""
        from scipy.special import ndtr

        mean, deviation = self.parameters()
        with np.errstate(divide="ignore"):
            return np.asarray(ndtr((mean - np.log(seconds)) / deviation))
