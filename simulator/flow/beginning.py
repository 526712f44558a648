"""What a control step begins with: a clean sheet, faults, and what is asked for."""

from __future__ import annotations

from simulator.compiled import inlined
from simulator.flow.draws import REFUSED, part_key
from simulator.flow.faults import suffer
from simulator.randomness import uniform


@inlined
def clear_step(happened, n):
    """Count anew."""
    happened.late[n] = 0.0
    happened.requests[n] = 0
    for s in range(happened.offered.shape[1]):
        happened.offered[n, s] = 0
        happened.busy_seconds[n, s] = 0.0
        happened.capacity_seconds[n, s] = 0.0
        happened.waiting_seconds[n, s] = 0.0
        happened.dropped[n, s] = 0.0
        happened.started[n, s] = 0
        happened.pod_seconds[n, s] = 0.0
        happened.usd[n, s] = 0.0


@inlined
def begin_step(clock, hazards, world, state, n):
    """Let faults begin and end, and ask for what is wanted."""
    suffer(hazards, clock, world, state, n)
    key = part_key(world.key[n], state.step[n] * clock.parts)
    is_refused = state.refusal[n] > 0.0 and uniform(key, REFUSED) < state.refusal[n]
    for s in range(state.wanted.shape[1]):
        if is_refused:
            state.wanted[n, s] = state.applied[n, s]
        state.applied[n, s] = state.wanted[n, s]
