"""When things happen: a heap of events in time, an agenda of what is due at this very moment."""

from __future__ import annotations

from simulator.compiled import inlined
from simulator.kernel.tables import ACTION_BITS


@inlined
def schedule(tables, time, action, row):
    """Let an action happen at a time."""
    events, clock = tables.events, tables.clock[0]
    place = clock.events
    clock.events = place + 1
    while place > 0:
        parent = (place - 1) >> 1
        if events[parent].time <= time:
            break
        events[place].time = events[parent].time
        events[place].item = events[parent].item
        place = parent
    events[place].time = time
    events[place].item = (row << ACTION_BITS) | action


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
        if child + 1 < size and events[child + 1].time < events[child].time:
            child += 1
        if events[child].time >= time:
            break
        events[place].time = events[child].time
        events[place].item = events[child].item
        place = child
        child = 2 * place + 1
    events[place].time = time
    events[place].item = item


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
