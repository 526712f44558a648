"""Pods that start, by the control step in which they were created, and pods that go."""

from __future__ import annotations

import numpy as np

from simulator.compiled import inlined
from simulator.flow.draws import COHORT
from simulator.flow.tables import DONE, LEFT, MARK, SPREAD, STRETCH
from simulator.randomness import uniform


@inlined
def start_cohort(world, state, n, s, count, key):
    """Create pods at a step's beginning."""
    cohort = state.cohorts[n, state.step[n] % state.cohorts.shape[1], s]
    cohort[LEFT], cohort[DONE], cohort[MARK] = count, 0.0, 0.0
    cohort[SPREAD] = uniform(key, COHORT)
    cohort[STRETCH] = state.start_factor[n, s]
    state.starting[n, s] += count


@inlined
def _started(world, n, s, stretch, age):
    """Share of a cohort that is ready at an age in parts of a step."""
    if stretch > 1.0:
        age = np.int64(age / stretch)
    return world.started[n, min(age, world.started.shape[1] - 1), s]


@inlined
def remove_pods(clock, world, state, n, s, count, key):
    """Take pods away at a step's beginning, those that have just started first; how many of them were ready."""
    cohorts = state.cohorts.shape[1]
    for age in range(1, cohorts):
        if count == 0 or state.starting[n, s] == 0:
            break
        if age > state.step[n]:
            break
        cohort = state.cohorts[n, (state.step[n] - age) % cohorts, s]
        waiting = np.int64(cohort[LEFT]) - np.int64(cohort[DONE])
        taken = min(count, waiting)
        if taken == 0:
            continue
        cohort[LEFT], cohort[DONE] = waiting - taken, 0.0
        cohort[MARK] = _started(world, n, s, cohort[STRETCH], age * clock.parts - 1)
        cohort[SPREAD] = uniform(key, COHORT + age)
        state.starting[n, s] -= taken
        count -= taken
    state.ready[n, s] -= count
    return count


@inlined
def foresee(clock, world, state, n, s):
    """Remember how many pods will be ready in each part of the step that begins."""
    first, kept = state.step[n] * clock.parts, state.history.shape[1]
    for part in range(clock.parts):
        state.history[n, (first + part) % kept, s] = state.ready[n, s]
    cohorts, others = state.cohorts.shape[1], state.starting[n, s]
    for age in range(min(cohorts, state.step[n] + 1)):
        if others == 0:
            break
        cohort = state.cohorts[n, (state.step[n] - age) % cohorts, s]
        left, done = np.int64(cohort[LEFT]), np.int64(cohort[DONE])
        if left == done:
            continue
        others -= left - done
        mark, before = cohort[MARK], done
        for part in range(clock.parts):
            share = _started(world, n, s, cohort[STRETCH], age * clock.parts + part)
            due = left
            if share < 1.0:
                new = (share - mark) / (1.0 - mark) if mark > 0.0 else share
                due = min(left, np.int64(left * new + cohort[SPREAD]))
            done = max(done, due)
            state.history[n, (first + part) % kept, s] += done - before
        cohort[DONE] = done
