"""When things happen: a heap of events in time, an agenda of what is due at this very moment."""

from __future__ import annotations

import numpy as np

from simulator.compiled import inlined
from simulator.kernel.tables import ACTION_BITS, NUMBER_MASK, NUMBER_SHIFT


@inlined
def schedule(tables, time, action, row):
    """Let an action happen at a time; of one time, what was scheduled first (of the last 2**29) is first."""
    clock = tables.clock[0]
    clock.scheduled = (clock.scheduled + 1) & NUMBER_MASK
    push(tables, time, (clock.scheduled << NUMBER_SHIFT) | (np.int64(row) << ACTION_BITS) | action)


@inlined
def push(tables, time, item):
    """Put an event on the heap."""
    events, clock = tables.events, tables.clock[0]
    place = clock.events
    clock.events = place + 1
    while place > 0:
        parent = (place - 1) >> 1
        if _is_before(events, parent, time, item):
            break
        events[place].time = events[parent].time
        events[place].item = events[parent].item
        place = parent
    events[place].time = time
    events[place].item = item


@inlined
def drop_first(tables):
    """Take the earliest event off the heap."""
    events, clock = tables.events, tables.clock[0]
    size = clock.events - 1
    clock.events = size
    time, item = events[size].time, events[size].item
    place = 0
    child = 1
    while child < size:
        if child + 1 < size and _is_before(events, child + 1, events[child].time, events[child].item):
            child += 1
        if not _is_before(events, child, time, item):
            break
        events[place].time = events[child].time
        events[place].item = events[child].item
        place = child
        child = 2 * place + 1
    events[place].time = time
    events[place].item = item


@inlined
def _is_before(events, place, time, item):
    """Whether an event of the heap comes before another."""
    return events[place].time < time or (events[place].time == time and events[place].item < item)


@inlined
def do_next(tables, action, row):
    """Let an action happen at this very moment, after what is on the agenda already."""
    clock = tables.clock[0]
    tables.agenda[clock.agenda_tail] = (row << ACTION_BITS) | action
    clock.agenda_tail += 1


@inlined
def schedule_after(tables, now, delay, action, row):
    """Let an action happen after a delay, which may be none."""
    if delay > 0.0:
        schedule(tables, now + delay, action, row)
    else:
        do_next(tables, action, row)
