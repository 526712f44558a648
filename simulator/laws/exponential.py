"""Exponential times."""

from __future__ import annotations

import math
from typing import Literal

import numba
from pydantic import Field

from simulator.randomness import uniform
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
        """What the compiled draw reads."""
        return (self.mean_seconds,)


@numba.njit(cache=True, nogil=True, forceinline=True)
def draw(values, at, key):
    """The service time of a key, seconds; ``values[at]`` is the mean."""
    return -values[at] * math.log(uniform(key, 0))
