"""Always the same number of replicas: the baseline without a control loop."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from agents.policy import Context, Mask
from simulator.plant import Desired, Snapshot
from simulator.settings import Settings


class FixedSettings(Settings):
    """How many replicas, for every service."""

    replicas: int = Field(ge=0, le=100_000, description="Replicas of every service.")
    period: float = Field(default=15.0, ge=1, le=3600, description="Seconds between two decisions.")


class Fixed:
    """The same number of replicas at every moment. It reads no metric, so a missing one changes nothing."""

    def __init__(self, settings: FixedSettings) -> None:
        self.settings = settings

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        return self.settings.period

    def decide(self, snapshot: Snapshot) -> Desired:
        """The fixed count, whatever the Snapshot shows."""
        reason = f"fixed at {self.settings.replicas}" if snapshot.wanted.ndim == 1 else ""
        return Desired(np.full_like(snapshot.wanted, self.settings.replicas), reason)

    def reset(self, mask: Mask | None = None) -> None:
        """There is nothing to forget."""


def make_fixed(settings: FixedSettings, context: Context) -> Fixed:  # noqa: ARG001 - every maker's signature
    """A Fixed policy; the Context's bounds are the Guard's business."""
    return Fixed(settings)
