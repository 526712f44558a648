"""One queue that few calls come to, work by work: where a service wakes from zero.

Each call brings a drawn service time. The state is the work that is there; of c slots as many work as there are calls,
each with the mean of what is left of a service time. For one slot, waits are those of the M/G/1 queue (D. Lindley, The
theory of queues with a single server, 1952).
"""

from __future__ import annotations

import numpy as np

from simulator.compiled import called, inlined
from simulator.flow.draws import service_key
from simulator.flow.survival import exceeds, inverse
from simulator.randomness import mix, uniform

_WORK = np.uint64(0xA24BAED4963EE407)
_SPREAD = (-0.35, 0.0, 0.35)
"""Points of a part of a step that stand for all of it."""
_MOST_DRAWN = 256
"""Of more calls in a part, each of so many stands for several."""


@inlined
def _wait(work, slots, rest):
    """How long a new call waits where there is so much work, with the mean of what is left of a service time."""
    return max(work - (slots - 1.0) * rest, 0.0) / slots


@inlined
def _work_off(work, slots, rest, seconds):
    """The work that is left after a time."""
    busy = min(slots, max(work / rest, 1.0))
    return max(work - busy * seconds, 0.0)


@called
def _late_in_the_dark(laws, world, state, n, s, queue, span, part):
    """How many calls that came while no pod was ready will be late, now that there is one.

    Args:
        queue: slots of those that are ready, and the mean service time.
    """
    slots, mean = queue
    survival, slo = laws.survival[world.law[n, s]], world.slo_seconds[n] - state.delay_seconds[n, s]
    kept = state.waits.shape[2]
    ahead, late = state.backlog[n, s] / mean, 0.0
    for age in range(1, min(state.dark[n, s], kept) + 1):
        place = (part - age) % kept
        calls = state.counts[n, s, place]
        ahead -= calls
        before_it = max(ahead + 0.5 * (calls - 1.0) - slots + 1.0, 0.0) * mean / slots
        state.waits[n, s, place] = (age - 0.5) * span + before_it
        for shift in _SPREAD:
            wait = state.waits[n, s, place] + shift * span
            late += calls / len(_SPREAD) * exceeds(survival, (slo - wait) / mean)
    return late


@called
def serve_few(laws, world, state, happened, n, s, calls, span, part, key):
    """Let a part of a step happen at a service, call by call: what BUSY and CAPACITY grow by.

    Whether calls that come while no pod is ready are late is known when one is.
    """
    mean = world.mean_seconds[n, s] / (state.cpu_share[n, s] * state.pace[n, s])
    slots = state.ready[n, s] * world.slots[n, s]
    kept = state.waits.shape[2]
    survival, slo = laws.survival[world.law[n, s]], world.slo_seconds[n] - state.delay_seconds[n, s]
    place, before = part % kept, state.work[n, s]
    work, rest = before, 0.5 * mean * (1.0 + world.scv[n, s])
    drawn = np.int64(min(calls, _MOST_DRAWN))
    own, late, waited, come = mix(service_key(key, s) + _WORK), 0.0, 0.0, 0.0
    if slots == 0.0 and state.dark[n, s] >= kept:
        late = state.counts[n, s, place]
    elif slots > 0.0 and state.dark[n, s] > 0:
        late = _late_in_the_dark(laws, world, state, n, s, (slots, mean), span, part)
    left = span
    for number in range(drawn):
        pause = left * (1.0 - uniform(own, 2 * number + 1) ** (1.0 / (drawn - number)))
        left -= pause
        if slots > 0.0:
            work = _work_off(work, slots, rest, pause)
            wait = _wait(work, slots, rest)
            late += calls / drawn * exceeds(survival, (slo - wait) / mean)
            waited += wait / drawn
        service = mean * inverse(survival, uniform(own, 2 * number)) * calls / drawn
        work += service
        come += service
    if slots > 0.0:
        state.dark[n, s] = 0
        work = _work_off(work, slots, rest, left)
        state.backlog[n, s] = max(_wait(work, slots, rest) * slots - rest, 0.0)
    else:
        state.dark[n, s] += 1
        state.backlog[n, s] += calls * mean
        waited = work / world.slots[n, s]
    state.work[n, s] = work
    state.waits[n, s, place] = waited
    state.counts[n, s, place] = calls
    happened.waiting_seconds[n, s] += calls * waited if slots > 0.0 else state.backlog[n, s] / mean * span
    happened.late[n] += late
    busy = min(before + come - work, slots * span)
    return busy * state.cpu_share[n, s], slots * span
