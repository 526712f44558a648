"""Pods that start, by the control step in which they were created, and pods that go."""

from __future__ import annotations

import numpy as np

from simulator.compiled import inlined
from simulator.flow.draws import COHORT
from simulator.randomness import uniform


@inlined
def start_cohort(world, state, n, s, count, key):
    """Create pods at a step's beginning."""
    slot = state.step[n] % state.left.shape[2]
    state.left[n, s, slot] = count
    state.done[n, s, slot] = 0
    state.mark[n, s, slot] = 0.0
    state.spread[n, s, slot] = uniform(key, COHORT)
    state.stretch[n, s, slot] = state.start_factor[n, s]
    state.starting[n, s] += count


@inlined
def _started(clock, world, state, n, s, slot, age):
    """Share of a cohort that is ready at an age in parts of a step."""
    stretch = state.stretch[n, s, slot]
    if stretch > 1.0:
        age = np.int64(age / stretch)
    return world.started[n, s, min(age, world.started.shape[2] - 1)]


@inlined
def remove_pods(clock, world, state, n, s, count, key):
    """Take pods away at a step's beginning, those that have just started first; how many of them were ready."""
    cohorts = state.left.shape[2]
    for age in range(1, cohorts):
        if count == 0 or state.starting[n, s] == 0:
            break
        slot = (state.step[n] - age) % cohorts
        if age > state.step[n]:
            break
        waiting = np.int64(state.left[n, s, slot]) - state.done[n, s, slot]
        taken = min(count, waiting)
        if taken == 0:
            continue
        state.left[n, s, slot] = waiting - taken
        state.done[n, s, slot] = 0
        state.mark[n, s, slot] = _started(clock, world, state, n, s, slot, age * clock.parts - 1)
        state.spread[n, s, slot] = uniform(key, COHORT + age)
        state.starting[n, s] -= taken
        count -= taken
    state.ready[n, s] -= count
    return count


@inlined
def make_ready(clock, world, state, n, s, part):
    """Let pods become ready whose time has come by this part of the step."""
    if state.starting[n, s] == 0:
        return
    cohorts, others = state.left.shape[2], state.starting[n, s]
    for age in range(min(cohorts, state.step[n] + 1)):
        if others == 0:
            break
        slot = (state.step[n] - age) % cohorts
        left = np.int64(state.left[n, s, slot])
        if left == state.done[n, s, slot]:
            continue
        others -= left - state.done[n, s, slot]
        share = _started(clock, world, state, n, s, slot, age * clock.parts + part)
        mark = state.mark[n, s, slot]
        due = left
        if share < 1.0:
            due = min(left, np.int64(left * ((share - mark) / (1.0 - mark)) + state.spread[n, s, slot]))
        new = due - state.done[n, s, slot]
        if new > 0:
            state.done[n, s, slot] = due
            state.ready[n, s] += new
            state.starting[n, s] -= new
