"""The data plane's loop: the next thing that happens, until the stretch is over."""

from __future__ import annotations

import numpy as np

from simulator.compiled import inlined, kernel
from simulator.kernel.callers import begin_request, give_up, hear, issue, proceed, touch_class
from simulator.kernel.events import drop_first
from simulator.kernel.station import arrive, finish_work, start, touch_pod, touch_service, wake
from simulator.kernel.tables import (
    ACTION_BITS,
    ACTION_MASK,
    ANSWER,
    ARRIVE,
    ISSUE,
    NONE,
    PROCEED,
    ROW_MASK,
    START,
    TIMER,
    WAKE,
    WORKED,
)

DONE, NEEDS_ROOM = range(2)


@kernel
def run(tables, until, arrivals, classes):
    """Run ``[clock.begin, until)`` with these arrivals.

    Args:
        tables: changed in place.
        arrivals: float64 ``(n,)``, ascending; from ``clock.taken`` on they are still to come.
        classes: int64 ``(n,)``, or ``(0,)`` where classes are drawn.

    Returns:
        DONE, or NEEDS_ROOM where a table is full: enlarge it and call again.
    """
    clock = tables.clock[0]
    taken = clock.taken
    count = len(arrivals)
    now = clock.now
    while True:
        if not has_room(tables):
            clock.taken = taken
            clock.now = now
            return NEEDS_ROOM
        if clock.agenda_head < clock.agenda_tail:
            item = tables.agenda[clock.agenda_head]
            clock.agenda_head += 1
            if clock.agenda_head == clock.agenda_tail:
                clock.agenda_head = clock.agenda_tail = 0
        else:
            arrival = arrivals[taken] if taken < count else np.inf
            event = tables.events[0].time if clock.events > 0 else np.inf
            if min(arrival, event) >= until:
                break
            if arrival <= event:
                now = arrival
                begin_request(tables, classes[taken] if len(classes) > 0 else NONE, now)
                taken += 1
                continue
            now = event
            item = tables.events[0].item
            drop_first(tables)
        action, row = item & ACTION_MASK, (item >> ACTION_BITS) & ROW_MASK
        if action == WAKE:
            row = wake(tables, row, now)
            if row == NONE:
                continue
            action = WORKED
        if action == WORKED:
            finish_work(tables, row, now)
            action = PROCEED
        if action == PROCEED:
            proceed(tables, row, now)
        elif action == ARRIVE:
            arrive(tables, row, now)
        elif action == START:
            start(tables, row, now)
        elif action == ANSWER:
            hear(tables, row, now)
        elif action == ISSUE:
            issue(tables, row, now)
        elif action == TIMER:
            give_up(tables, row, now)
    end_stretch(tables, until)
    return DONE


@inlined
def has_room(tables):
    """Whether every table has room for all that one action may add."""
    clock = tables.clock[0]
    return (
        clock.free_calls >= clock.room
        and clock.events + clock.room <= len(tables.events)
        and clock.agenda_tail + clock.room <= len(tables.agenda)
        and (len(tables.log) == 0 or clock.logged < len(tables.log))
    )


@inlined
def end_stretch(tables, until):
    """Bring all integrals up to the end, and count the live requests that became late in the stretch."""
    for service in range(len(tables.services)):
        touch_service(tables.services[service], until)
    for pod in range(len(tables.pods)):
        if tables.pods[pod].service != NONE:
            touch_pod(tables, pod, until)
    for index in range(len(tables.classes)):
        touch_class(tables.classes[index], until)
    calls = tables.calls
    for place in range(len(tables.thresholds)):
        row = tables.cursors[place]
        while row != NONE and calls[row].arrived + tables.thresholds[place] < until:
            tables.late[calls[row].request_class, place] += 1
            row = calls[row].next
        tables.cursors[place] = row
    tables.clock[0].begin = tables.clock[0].now = until
    tables.clock[0].taken = 0
