"""From an action index to Desired."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from envs.guard import Guard
from simulator.arrays import Ints
from simulator.plant import Desired, Snapshot
from simulator.settings import Settings


class ActionMap(Settings):
    """Each action changes what is wanted by a share of it, by at least one replica.

    ``replicas = wanted + sign(c) max(1, round(|c| wanted))`` for the change ``c`` of the action.
    Missing metrics: while the rate is NaN, or the CPU of a service that has ready pods, every action
    holds; without a ready pod there is no CPU to measure.
    """

    changes: tuple[float, ...] = Field(
        default=(-0.5, -0.25, -0.1, -0.01, 0.0, 0.01, 0.1, 0.25, 0.5, 1.0),
        min_length=2,
        max_length=1000,
        description="Relative change of the wanted replicas, by action.",
    )

    @field_validator("changes")
    @classmethod
    def _ascending(cls, changes: tuple[float, ...]) -> tuple[float, ...]:
        ascending = all(low < high for low, high in itertools.pairwise(changes))
        if not ascending or 0.0 not in changes or changes[0] < -1:
            msg = "changes must ascend, start at -1 or above and hold 0"
            raise ValueError(msg)
        return changes

    @property
    def count(self) -> int:
        """Number of actions, axis A."""
        return len(self.changes)

    @property
    def hold(self) -> int:
        """The action that changes nothing."""
        return self.changes.index(0.0)

    def describe(self, action: int) -> str:
        """An action in a few signs: ``+25%`` or ``hold``."""
        change = self.changes[action]
        return f"{change:+.0%}" if change else "hold"

    def desired(self, actions: Ints, snapshot: Snapshot) -> Desired:
        """What the actions ask for.

        Args:
            actions: int64 ``(..., S)``; an index into ``changes`` for each service.
        """
        change = np.where(metrics_missing(snapshot), 0.0, np.array(self.changes)[actions])
        return Desired(np.maximum(snapshot.wanted + self._steps(change, snapshot.wanted), 0))

    def mask(self, snapshot: Snapshot, guard: Guard) -> NDArray[np.bool_]:
        """Bool ``(..., S, A)``: the actions that are done as they are; hold always may be taken."""
        low, high = guard.limits(snapshot)
        wanted = snapshot.wanted[..., np.newaxis]
        replicas = np.maximum(wanted + self._steps(np.array(self.changes), wanted), 0)
        allowed = (replicas >= low[..., np.newaxis]) & (replicas <= high[..., np.newaxis])
        allowed &= ~metrics_missing(snapshot)[..., np.newaxis]
        allowed[..., self.hold] = True
        return np.asarray(allowed)

    @staticmethod
    def _steps(change: NDArray[np.float64], wanted: Ints) -> Ints:
        size = np.maximum(np.rint(np.abs(change) * wanted), 1.0)
        return np.asarray(np.sign(change) * size).astype(np.int64)


def metrics_missing(snapshot: Snapshot) -> NDArray[np.bool_]:
    """Bool ``(..., S)``: where too little is known to act."""
    blind = np.isnan(snapshot.cpu.value) & (snapshot.ready > 0)
    return np.asarray(blind | np.isnan(snapshot.rate.value))
