"""The one loop of decisions over a Plant: evaluation, rehearsal and the real loop use it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from agents.policy import Policy
from envs.guard import Guard
from simulator.arrays import Floats, Ints
from simulator.plant import ChangeRefused, Desired, Plant, Snapshot

Result = TypeVar("Result")
_DECIMALS = 6
_MILLI, _MIB = 1000, 1024
"""CPU is requested in thousandths, memory in MiB."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One tick's record: what was seen, wished for and allowed.

    Attributes:
        wish: what the policy wanted.
        allowed: what the guard let through, and what is applied.
        refusal: why the Plant did not take it; empty where it did.
    """

    snapshot: Snapshot
    wish: Desired
    allowed: Desired
    refusal: str = ""

    @property
    def changes(self) -> bool:
        """Whether anything is asked for that is not wanted already."""
        seen, asked = self.snapshot, self.allowed
        nodes = None if seen.nodes is None else seen.nodes.starting + seen.nodes.ready
        pairs = (
            (asked.replicas, seen.wanted),
            (asked.vcpu, seen.vcpu),
            (asked.memory_gib, seen.memory_gib),
            (asked.nodes, nodes),
        )
        return any(wish is not None and (have is None or bool((wish != have).any())) for wish, have in pairs)


def _differs(wish: Floats | Ints | None, have: Floats | Ints | None, units: int) -> bool:
    """Whether something else is wished for, in whole units."""
    if wish is None:
        return False
    return have is None or bool((np.rint(wish * units) != np.rint(have * units)).any())


def decide(snapshot: Snapshot, policy: Policy, guard: Guard) -> Decision:
    """Ask the policy and apply the guard; nothing is done yet."""
    wish = policy.decide(snapshot)
    return Decision(snapshot, wish, guard.allow(snapshot, wish))


def tick(plant: Plant, policy: Policy, guard: Guard) -> Decision:
    """Look, decide, act; where the change is refused, nothing is done until the next tick."""
    decision = decide(plant.snapshot(), policy, guard)
    if decision.changes:
        try:
            plant.apply(decision.allowed)
        except ChangeRefused as error:
            return replace(decision, refusal=str(error))
    return decision


def run(
    plant: Plant,
    policy: Policy,
    guard: Guard,
    advance: Callable[[float], Result],
    duration_seconds: float = math.inf,
) -> Iterator[tuple[Decision, Result]]:
    """Decide, then let the policy's period pass, until the duration is over.

    Args:
        advance: lets seconds pass: a SimulatedPlant's ``advance`` or a real clock's ``wait``; what
            it returns comes with the decision. The last step is cut so that the end is met.
    """
    left = duration_seconds
    while left > 0:
        decision = tick(plant, policy, guard)
        step = min(policy.period_seconds, left)
        yield decision, advance(step)
        left = round(left - step, _DECIMALS)
