"""Bounded Pareto times: a heavy tail with an end.

Source: M. Crovella, M. Harchol-Balter and C. Murta, Task assignment in a distributed system, 1998.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from simulator.arrays import Floats
from simulator.settings import Settings

CODE = 4


class ParetoLaw(Settings):
    """Bounded Pareto service times: density proportional to ``t ** -(shape + 1)`` between two ends."""

    law: Literal["pareto"] = "pareto"
    shape: float = Field(ge=0.01, le=100, description="Tail index; the smaller, the heavier the tail.")
    lowest_seconds: float = Field(ge=1e-6, le=3600, description="Shortest service time, seconds.")
    highest_seconds: float = Field(ge=1e-6, le=3600, description="Longest service time, seconds.")

    @model_validator(mode="after")
    def _ordered(self) -> ParetoLaw:
        if self.highest_seconds <= self.lowest_seconds:
            msg = (
                f"highest_seconds ({self.highest_seconds:g}) must be above "
                f"lowest_seconds ({self.lowest_seconds:g})"
            )
            raise ValueError(msg)
        return self

    @property
    def mean_seconds(self) -> float:
        """Mean service time, seconds."""
        return self.lowest_seconds * self._moment(1)

    @property
    def scv(self) -> float:
        """Squared coefficient of variation."""
        # rounding alone may leave less than 0 where the ends almost meet
        return max(0.0, self._moment(2) / self._moment(1) ** 2 - 1)

    @property
    def code(self) -> int:
        """Which compiled draw is this law's."""
        return CODE

    def parameters(self) -> tuple[float, ...]:
        """What the compiled draw reads: both ends, the shape and ``(lowest / highest) ** shape - 1``."""
        return self.lowest_seconds, self.highest_seconds, self.shape, math.expm1(-self.shape * self._span)

    def survival(self, seconds: Floats) -> Floats:
        """The probability to exceed each time: float64 of the same shape."""
        lowest, highest, shape, cut = self.parameters()
        within = np.clip(seconds, lowest, highest)
        return np.asarray(((lowest / within) ** shape - 1 - cut) / -cut)

    @property
    def _span(self) -> float:
        return math.log(self.highest_seconds / self.lowest_seconds)

    def _moment(self, order: int) -> float:
        """``E[(T / lowest) ** order]``: the logarithm of T / lowest is exponential, cut at the span."""
        excess = order - self.shape
        growth = math.expm1(excess * self._span) / excess if excess else self._span
        return self.shape * growth / -math.expm1(-self.shape * self._span)
