"""Exponential times."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from simulator.arrays import Floats
from simulator.settings import Settings

CODE = 0


class ExponentialLaw(Settings):
    """Exponential service times."""

    law: Literal["exponential"] = "exponential"
    mean_seconds: float = Field(gt=0, le=3600, description="Mean service time, seconds.")

    @property
    def scv(self) -> float:
        """Squared coefficient of variation."""
        return 1.0

    @property
    def code(self) -> int:
        """Which compiled draw is this law's."""
        return CODE

    def parameters(self) -> tuple[float, ...]:
        """What the compiled draw reads: the mean."""
        return (self.mean_seconds,)

    def survival(self, seconds: Floats) -> Floats:
        """The probability to exceed each time: float64 of the same shape."""
        return np.asarray(np.exp(-np.asarray(seconds) / self.mean_seconds))
