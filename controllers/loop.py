"""The control loop: look, decide, act, write down what was done and why; then wait.

It never dies of the Plant: where the Plant cannot be read or refuses, the tick ends with that as
its reason, nothing is changed, and the next tick starts from a fresh look.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents.policy import Policy
from agents.runner import Decision, decide
from controllers.clock import Clock
from envs.guard import Guard
from simulator.arrays import Ints
from simulator.plant import Metric, Plant


@dataclass(frozen=True, slots=True)
class Record:
    """One tick: what was seen, wanted, allowed and done, and why.

    Attributes:
        outcome: ``applied``, ``unchanged``, ``dry-run``, ``unreadable`` or ``refused``.
        decision: None where the Plant could not be read.
    """

    time_seconds: float
    outcome: str
    reason: str
    decision: Decision | None

    def to_json(self) -> dict[str, Any]:
        """Plain values by name; a missing metric is None."""
        record: dict[str, Any] = {
            "time_seconds": self.time_seconds,
            "outcome": self.outcome,
            "reason": self.reason,
        }
        if self.decision is not None:
            seen = self.decision.snapshot
            counts = {
                name: _ints(getattr(seen, name)) for name in ("wanted", "starting", "ready", "draining")
            }
            metrics = {name: _metric(getattr(seen, name)) for name in ("cpu", "rate", "latency_p95", "queue")}
            record |= {
                "seen": counts | metrics,
                "wish": _ints(self.decision.wish.replicas),
                "allowed": _ints(self.decision.allowed.replicas),
            }
        return record


class Loop:
    """A Policy and a Guard at work on a Plant.

    Args:
        journal: called with every Record, before the next wait.
        acting: False for a dry run, which does everything but apply.
    """

    def __init__(
        self,
        plant: Plant,
        policy: Policy,
        guard: Guard,
        clock: Clock,
        journal: Callable[[Record], None],
        *,
        acting: bool = True,
    ) -> None:
        self._plant = plant
        self._policy = policy
        self._guard = guard
        self._clock = clock
        self._journal = journal
        self._acting = acting

    def run(self) -> None:
        """Tick until the clock says stop."""
        going = True
        while going:
            self._journal(self.tick())
            going = self._clock.wait(self._policy.period_seconds)

    def tick(self) -> Record:
        """One look, one decision, at most one change."""
        now = self._clock.now_seconds()
        try:
            snapshot = self._plant.snapshot()
        except OSError as error:
            return Record(now, "unreadable", f"hold: the plant cannot be read: {error}", None)
        decision = decide(snapshot, self._policy, self._guard)
        reason = decision.wish.reason
        if not snapshot.wanted.any() and min(self._guard.settings.min_replicas) > 0:
            return Record(now, "unchanged", "0 replicas: paused by another hand, as for the HPA", decision)
        if not decision.changes:
            return Record(now, "unchanged", reason, decision)
        if not self._acting:
            return Record(now, "dry-run", reason, decision)
        try:
            self._plant.apply(decision.allowed)
        except OSError as error:
            return Record(now, "refused", f"{reason}; the plant refused: {error}", decision)
        return Record(now, "applied", reason, decision)


def _ints(values: Ints) -> list[int]:
    return [int(value) for value in values]


def _metric(metric: Metric) -> list[dict[str, float | None]]:
    return [
        {
            "value": float(value) if math.isfinite(value) else None,
            "age_seconds": float(age) if math.isfinite(age) else None,
        }
        for value, age in zip(metric.value, metric.age_seconds, strict=True)
    ]
