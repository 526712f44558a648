"""Times that are all the same."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from simulator.arrays import Floats
from simulator.settings import Settings

CODE = 1


class DeterministicLaw(Settings):
    """Every request takes the same time."""

    law: Literal["deterministic"] = "deterministic"
    mean_seconds: float = Field(gt=0, le=3600, description="Service time, seconds.")

    @property
    def scv(self) -> float:
        """Squared coefficient of variation."""
        return 0.0

    @property
    def code(self) -> int:
        """Which compiled draw is this law's."""
        return CODE

    def parameters(self) -> tuple[float, ...]:
        """What the compiled draw reads: the time."""
        return (self.mean_seconds,)

    def survival(self, seconds: Floats) -> Floats:
        """The probability to exceed each time: float64 of the same shape."""
        return np.asarray(np.less(seconds, self.mean_seconds), dtype=np.float64)
