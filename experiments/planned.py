"""A schedule of replicas that is played by the clock."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from agents.policy import Mask
from simulator.plant import Desired, Snapshot

PERIOD_SECONDS = 15.0
"""Between two decisions of the oracle, as of the HPA."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many replicas to want in each period.

    Attributes:
        usd_per_violation: what a violation was worth to the one who made it.
    """

    wanted: tuple[int, ...]
    period_seconds: float
    usd_per_violation: float

    def __str__(self) -> str:
        """As the settings of a policy are told: JSON."""
        digest = hashlib.sha256(np.array(self.wanted, np.int64).tobytes()).hexdigest()
        settings = {
            "period": self.period_seconds,
            "schedule_sha256": digest,
            "usd_per_violation": self.usd_per_violation,
        }
        return json.dumps(settings, sort_keys=True)


class Planned:
    """Plays a schedule: what the Snapshot's time says, and its last entry afterwards. It reads no metric."""

    def __init__(self, schedule: Schedule) -> None:
        self._wanted = np.array(schedule.wanted, np.int64)
        self._period_seconds = schedule.period_seconds

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        return self._period_seconds

    def decide(self, snapshot: Snapshot) -> Desired:
        """What the schedule has for this moment, for every service."""
        period = int(float(snapshot.time_seconds) / self._period_seconds + _ROUNDING)
        return Desired(np.full_like(snapshot.wanted, self._wanted[min(period, len(self._wanted) - 1)]))

    def reset(self, mask: Mask | None = None) -> None:
        """There is nothing to forget."""
