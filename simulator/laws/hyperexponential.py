"""Hyperexponential times: two kinds of request, short and long.

Source: W. Whitt, Approximating a point process by a renewal process, I: two basic methods, 1982.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from simulator.arrays import Floats
from simulator.settings import Settings

CODE = 5


class HyperexponentialLaw(Settings):
    """Two exponential phases with balanced means: each phase has half of the work."""

    law: Literal["hyperexponential"] = "hyperexponential"
    mean_seconds: float = Field(gt=0, le=3600, description="Mean service time, seconds.")
    scv: float = Field(ge=1, le=100, description="Squared coefficient of variation.")

    @property
    def code(self) -> int:
        """Which compiled draw is this law's."""
        return CODE

    def parameters(self) -> tuple[float, ...]:
        """What the compiled draw reads: the share of the short phase, the mean of each."""
        short = (1 + math.sqrt((self.scv - 1) / (self.scv + 1))) / 2
        return short, self.mean_seconds / (2 * short), self.mean_seconds / (2 * (1 - short))

    def survival(self, seconds: Floats) -> Floats:
        """The probability to exceed each time: float64 of the same shape."""
        short, *means = self.parameters()
        first, second = (np.exp(-np.asarray(seconds) / mean) for mean in means)
        return np.asarray(short * first + (1 - short) * second)
