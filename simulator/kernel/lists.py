"""Rows and lists of rows: free ones, queues, deadlines, live requests, idle slots."""

from __future__ import annotations

from simulator.compiled import inlined
from simulator.kernel.tables import FREE, NONE


@inlined
def take_call(tables):
    """A free row."""
    clock = tables.clock[0]
    row = clock.free_call
    clock.free_call = tables.calls[row].next
    clock.free_calls -= 1
    return row


@inlined
def free_call(tables, row):
    """Give a row back."""
    clock = tables.clock[0]
    tables.calls[row].state = FREE
    tables.calls[row].next = clock.free_call
    clock.free_call = row
    clock.free_calls += 1


@inlined
def enqueue(tables, owner, row):
    """Put a call at the end of its priority's queue of an owner."""
    calls = tables.calls
    queue = tables.queues[owner, calls[row].priority]
    calls[row].next = NONE
    if queue.length == 0:
        queue.head = row
    else:
        calls[queue.tail].next = row
    queue.tail = row
    queue.length += 1


@inlined
def dequeue(tables, owner):
    """The call that is next in an owner's queues, NONE if they are empty."""
    for priority in range(tables.clock[0].priorities):
        queue = tables.queues[owner, priority]
        if queue.length > 0:
            row = queue.head
            queue.head = tables.calls[row].next
            queue.length -= 1
            return row
    return NONE


@inlined
def make_idle(tables, service, slot):
    """Put a slot behind all idle ones of its service, so that the longest idle is used first."""
    station = tables.services[service]
    tables.slots[slot].next = NONE
    if station.idle_head == NONE:
        station.idle_head = slot
    else:
        tables.slots[station.idle_tail].next = slot
    station.idle_tail = slot


@inlined
def take_idle(tables, service):
    """The slot of a service that has been idle longest, NONE if all are busy."""
    station = tables.services[service]
    slot = station.idle_head
    if slot != NONE:
        station.idle_head = tables.slots[slot].next
    return slot


@inlined
def append_live(tables, row):
    """A request is made: the newest of the live ones."""
    calls, clock = tables.calls, tables.clock[0]
    calls[row].next = NONE
    calls[row].previous = clock.live_tail
    if clock.live_tail == NONE:
        clock.live_head = row
    else:
        calls[clock.live_tail].next = row
    clock.live_tail = row
    for index in range(len(tables.cursors)):
        if tables.cursors[index] == NONE:
            tables.cursors[index] = row


@inlined
def remove_live(tables, row):
    """A request is over."""
    calls, clock = tables.calls, tables.clock[0]
    before, after = calls[row].previous, calls[row].next
    if before == NONE:
        clock.live_head = after
    else:
        calls[before].next = after
    if after == NONE:
        clock.live_tail = before
    else:
        calls[after].previous = before
    for index in range(len(tables.cursors)):
        if tables.cursors[index] == row:
            tables.cursors[index] = after


@inlined
def take_slot(tables):
    """A free row of a slot."""
    clock = tables.clock[0]
    slot = clock.free_slot
    clock.free_slot = tables.slots[slot].next
    clock.free_slots -= 1
    return slot


@inlined
def free_slot(tables, slot):
    """Give a slot's row back."""
    clock = tables.clock[0]
    tables.slots[slot].next = clock.free_slot
    clock.free_slot = slot
    clock.free_slots += 1
