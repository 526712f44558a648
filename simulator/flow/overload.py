"""What a service does with more calls than it can work on in a part of a step: which go first, wait, or are let go.

A lane is the calls of one priority; what is left of a service's capacity goes from lane to lane. Arrivals are let go
where a queue is full or where the service sheds; what waits, where it has expired and the service discards that.

Shedding goes round: the queue grows until its oldest call has waited too long, then nobody is let in until all of
those that have waited so long are gone. The lowest lane, with work at a rate w, at a service that all lanes give more
than its capacity c, has ``max(w, all - c)`` times that wait of work in its queue when it begins to shed, and half of it
on average; its waits are uniform. Where its calls leave faster than they came once those of higher lanes are shed, the
service sheds now and then, just so that the oldest stays that old. In both, throughput is the capacity.
"""

from __future__ import annotations

import numpy as np

from simulator.compiled import inlined

_LEAST_LEFT = 1e-3
"""Of its capacity; what waits behind calls that use all of it is not there for ever."""


@inlined
def turn_away(stations, flows, traffic, n, s, lanes, limits, capacity, span):
    """Find the share of each lane's new calls that are dropped in a part of a step.

    Args:
        lanes: the first, and the one after the last.
        limits: work that may wait, and the share of the calls that does not come only because others were shed.

    Returns:
        Whether it sheds all for a while, then none.
    """
    first, last = lanes
    room, fresh_share = limits
    sheds = len(stations.shed_seconds) > 0 and stations.shed_seconds[s] < np.inf
    left, after, work, goes_round = capacity, 0.0, 0.0, False
    sheddable = waits = lowest = 0.0
    for lane in range(first, last):
        flows.turned_away[n, lane] = traffic.shed[lane] if sheds else 0.0
        fresh = traffic.work[lane] * (1.0 - flows.turned_away[n, lane])
        has = flows.backlog[n, lane] + fresh
        stays = max(has - left, 0.0)
        left -= has - stays
        after += stays
        work += fresh
        if sheds and not stations.spared[lane]:
            sheddable += fresh
            waits += stays
            lowest = fresh if fresh > 0.0 else lowest
    if sheds and waits > 0.0:
        lowest *= fresh_share
        more = work - sheddable * (1.0 - fresh_share)
        goes_round = lowest + work - sheddable >= capacity
        rate = 0.5 * max(lowest, more - capacity) if goes_round else lowest * min(capacity / more, 1.0)
        kept = rate * stations.shed_seconds[s] / span
        share = min(max(waits - kept, 0.0) / max(sheddable, 1e-12), 1.0)
        for lane in range(first, last):
            if not stations.spared[lane]:
                flows.turned_away[n, lane] = 1.0 - (1.0 - flows.turned_away[n, lane]) * (1.0 - share)
        after -= share * sheddable
        work -= share * sheddable
    if after > room:
        share = min((after - room) / max(work, 1e-12), 1.0)
        for lane in range(first, last):
            flows.turned_away[n, lane] = 1.0 - (1.0 - flows.turned_away[n, lane]) * (1.0 - share)
    return goes_round


@inlined
def work_off(flows, traffic, n, lane, waits, capacities, span):
    """Let a lane's calls be worked on.

    Args:
        waits: work of this part's calls that is still wanted when all of it waits, inf where that is not asked; and
            how long calls wait while no pod is ready.
        capacities: what the service can do in this part, and what is left of it.

    Returns:
        What is left of the capacity; the shares of what is there that are done, stay, and have expired.
    """
    (alive, cold_seconds), (capacity, left) = waits, capacities
    before = flows.backlog[n, lane]
    has = before + traffic.work[lane] * (1.0 - flows.turned_away[n, lane])
    done = min(has, left)
    after = has - done
    stays = min(after, alive)
    flows.backlog[n, lane] = stays
    traffic.wait_seconds[lane] = 0.0 if capacity > 0.0 else cold_seconds
    if capacity > 0.0 and before + stays > 0.0:
        traffic.wait_seconds[lane] = 0.5 * (before + stays) * span / max(left, _LEAST_LEFT * capacity)
    if after <= 0.0:
        return left - done, 1.0, 0.0, 0.0
    return left - done, done / has, stays / has, (after - stays) / has
