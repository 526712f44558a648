"""The pods of a cluster as the HPA trusts them.

Pods that go are those that have just come, so the pods that were ready at a time and are still there are as many as
the fewest since. A reading holds pods that run, ready or not.
Source: kubernetes/kubernetes pkg/controller/podautoscaler/replica_calculator.go (groupPods).
"""

from __future__ import annotations

import numpy as np

from simulator.compiled import inlined, kernel
from simulator.flow.readings import CPU, blur, find_sample
from simulator.flow.tables import BUSY, CAPACITY

_MILLI = 1000.0


@inlined
def _fewest_since(state, n, s, part, last):
    """The fewest pods that were ready at a part's end and after, up to the last."""
    fewest = state.ready[n, s]
    parts = state.history.shape[1]
    for place in range(max(part, last - parts + 1, 0), last + 1):
        fewest = min(fewest, np.int64(state.history[n, place % parts, s]))
    return fewest


@kernel
def sort_pods(begin, end, clock, running_seconds, milli, world, state, trusted):
    """Sort the pods of clusters ``begin`` to ``end``.

    Args:
        running_seconds: float64 ``(S,)``; how long a pod runs before it is ready, in the middle.
        milli: float64 ``(S,)``; what a pod requests, thousandths.
    """
    span = clock.period_seconds / clock.parts
    kept = state.readings.shape[1]
    for n in range(begin, end):
        last = state.step[n] * clock.parts - 1
        newest, oldest = find_sample(clock, world, state, n)
        seconds = (newest - oldest) * clock.scrape_seconds
        read_at = world.first_scrape_seconds[n] + newest * clock.scrape_seconds
        for s in range(state.wanted.shape[1]):
            alive = state.ready[n, s] + state.starting[n, s]
            trusted.counted[n, s] = trusted.usage_milli[n, s] = trusted.unready[n, s] = 0
            trusted.missing[n, s] = alive
            if newest < 0:
                continue
            before, reading = state.readings[n, oldest % kept, s], state.readings[n, newest % kept, s]
            counted = _fewest_since(state, n, s, round((read_at - seconds) / span) - 1, last)
            running = _fewest_since(state, n, s, round((read_at + running_seconds[s]) / span) - 1, last)
            come = max(state.ready[n, s] - running, 0)
            capacity = reading[CAPACITY] - before[CAPACITY]
            share = (reading[BUSY] - before[BUSY]) / capacity if capacity > 0.0 else 0.0
            share *= blur(clock, world, n, s, newest, CPU, counted)
            trusted.counted[n, s] = counted
            trusted.missing[n, s] = come
            trusted.unready[n, s] = alive - counted - come
            trusted.usage_milli[n, s] = np.int64(np.rint(share * milli[s] * counted))
