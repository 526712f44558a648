"""What a learner gets for one step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.objective import Objective
from simulator.arrays import Floats
from simulator.plant import Interval


@dataclass(frozen=True, slots=True)
class Reward:
    """Minus the objective's loss in units of a constant that belongs to the Task.

    Attributes:
        unit_usd: the loss that gives a reward of -1.
    """

    objective: Objective
    unit_usd: float

    def of(self, interval: Interval) -> Floats:
        """float64 ``(...)``."""
        return np.asarray(-self.objective.loss_usd(interval) / self.unit_usd)
