"""Gamma times."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from simulator.arrays import Floats
from simulator.settings import Settings

CODE = 3


class GammaLaw(Settings):
    """Gamma service times (Erlang where 1 / scv is whole)."""

    law: Literal["gamma"] = "gamma"
    mean_seconds: float = Field(gt=0, le=3600, description="Mean service time, seconds.")
    scv: float = Field(default=1.0, gt=0, le=100, description="Squared coefficient of variation.")

    @property
    def code(self) -> int:
        """Which compiled draw is this law's."""
        return CODE

    def parameters(self) -> tuple[float, ...]:
        """What the compiled draw reads: d, c, the scale of its cubes and the power of a boost.

        d and c are Marsaglia and Tsang's; a shape below 1 is drawn as shape + 1, times a uniform to the
        power 1 / shape. The scale is d mean / shape, written so that it stays finite at any shape.
        """
        boosted = self.scv > 1
        depth = 1 / self.scv + (2 / 3 if boosted else -1 / 3)
        scale = self.mean_seconds * (1 + self.scv * (2 / 3 if boosted else -1 / 3))
        return depth, 1 / (3 * math.sqrt(depth)), scale, self.scv if boosted else 0.0

    def survival(self, seconds: Floats) -> Floats:
        """The probability to exceed each time: float64 of the same shape."""
        from scipy.special import gammaincc

        return np.asarray(gammaincc(1 / self.scv, np.asarray(seconds) / (self.scv * self.mean_seconds)))
