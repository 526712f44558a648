"""Time-outs: a caller gives a call up; the service does not know and works on in vain.

An edge's time-out is one number, so its deadlines come in the order of its calls: a list, whose
first deadline has one event, looked at again when that is due.
"""

from __future__ import annotations

import numpy as np

from simulator.compiled import inlined
from simulator.kernel.events import schedule
from simulator.kernel.tables import NONE, TIMER


@inlined
def watch(tables, row):
    """Put a call that has just been issued in its edge's list of deadlines, if that has a time-out."""
    call = tables.calls[row]
    edge = tables.edges[call.edge]
    call.timed = edge.timeout_seconds < np.inf
    if not call.timed:
        return
    call.timer_next = NONE
    call.timer_previous = edge.timer_tail
    if edge.timer_tail == NONE:
        edge.timer_head = row
    else:
        tables.calls[edge.timer_tail].timer_next = row
    edge.timer_tail = row
    if edge.wake == np.inf:
        edge.wake = call.issued + edge.timeout_seconds
        schedule(tables, edge.wake, TIMER, call.edge)


@inlined
def unwatch(tables, row):
    """Take a call out of its edge's list of deadlines."""
    call = tables.calls[row]
    if not call.timed:
        return
    call.timed = False
    edge = tables.edges[call.edge]
    before, after = call.timer_previous, call.timer_next
    if before == NONE:
        edge.timer_head = after
    else:
        tables.calls[before].timer_next = after
    if after == NONE:
        edge.timer_tail = before
    else:
        tables.calls[after].timer_previous = before


@inlined
def expired(tables, edge_row, now):
    """The call whose deadline this is, taken from the list, NONE if it was answered before; sets the next event."""
    edge = tables.edges[edge_row]
    row = edge.timer_head
    if row != NONE and tables.calls[row].issued + edge.timeout_seconds <= now:
        unwatch(tables, row)
    else:
        row = NONE
    edge.wake = np.inf
    if edge.timer_head != NONE:
        edge.wake = tables.calls[edge.timer_head].issued + edge.timeout_seconds
        schedule(tables, edge.wake, TIMER, edge_row)
    return row
