"""What the control plane does to the pods of the data plane: open, change, close, kill."""

from __future__ import annotations

import numpy as np

from simulator.calls.timeout import unwatch
from simulator.compiled import inlined, kernel
from simulator.dispatch import shared
from simulator.kernel.events import do_next, push
from simulator.kernel.lists import free_slot, make_idle, take_slot
from simulator.kernel.station import answer_with, next_waiting, plan_wake, touch_pod, touch_service
from simulator.kernel.tables import (
    ACTION_BITS,
    ACTION_MASK,
    CALLING,
    FAILED,
    FREE,
    KILLED,
    NONE,
    ROW_MASK,
    START,
    WAITING,
    WAKE,
    WORKED,
)
from simulator.sharing import CFS_PERIOD_SECONDS


@kernel
def open_pod(tables, pod_row, service, cores):
    """Let a pod take requests from now on; those that wait for a shared slot begin."""
    now = tables.clock[0].now
    pod, station = tables.pods[pod_row], tables.services[service]
    pod.service = service
    pod.busy = pod.working = pod.waiting = pod.in_service = 0
    pod.heap = NONE
    pod.accepting = True
    pod.cpu_seconds = pod.attained = pod.spent = 0.0
    pod.touched = now
    pod.wake = pod.emptied = np.inf
    _set_traits(pod, station, cores, 1.0, 0.0, 0.0)
    touch_service(station, now)
    tables.ready[service, station.ready] = pod_row
    station.ready += 1
    if station.dispatch != shared.CODE:
        return
    for _ in range(station.slots):
        slot = take_slot(tables)
        tables.slots[slot].pod = pod_row
        row = next_waiting(tables, service, now)
        if row == NONE:
            make_idle(tables, service, slot)
            continue
        tables.calls[row].pod = pod_row
        tables.calls[row].slot = slot
        pod.busy += 1
        station.busy += 1
        do_next(tables, START, row)


@kernel
def set_pod(tables, pod_row, cores, speed, delay_seconds, error_probability):
    """Change what a pod can do from now on; under slots, calls at work keep their pace."""
    now = tables.clock[0].now
    pod = tables.pods[pod_row]
    station = tables.services[pod.service]
    touch_pod(tables, pod_row, now)
    _set_traits(pod, station, cores, speed, delay_seconds, error_probability)
    if station.sharing:
        plan_wake(tables, pod_row, now)


@inlined
def _set_traits(pod, station, cores, speed, delay_seconds, error_probability):
    pod.cores = cores
    pod.speed = speed
    pod.cores_per_slot = cores / station.slots
    pod.pace = cores / station.cores * speed
    pod.quota_seconds = cores * CFS_PERIOD_SECONDS if station.throttles else np.inf
    pod.delay_seconds = delay_seconds
    pod.error_probability = error_probability


@kernel
def close_pod(tables, pod_row):
    """Let a pod finish what it has and take no more."""
    pod = tables.pods[pod_row]
    service = pod.service
    station = tables.services[service]
    pod.accepting = False
    if pod.busy + pod.in_service + pod.waiting == 0:
        pod.emptied = tables.clock[0].now
    kept = 0
    for index in range(station.ready):
        if tables.ready[service, index] != pod_row:
            tables.ready[service, kept] = tables.ready[service, index]
            kept += 1
    station.ready = kept
    slot = station.idle_head
    station.idle_head = station.idle_tail = NONE
    while slot != NONE:
        following = tables.slots[slot].next
        if tables.slots[slot].pod == pod_row:
            free_slot(tables, slot)
        else:
            make_idle(tables, service, slot)
        slot = following


@kernel
def kill_pod(tables, pod_row):
    """End a closed pod: what it still has fails, and what that had called goes on for nobody."""
    clock, calls = tables.clock[0], tables.calls
    now = clock.now
    pod = tables.pods[pod_row]
    station = tables.services[pod.service]
    touch_service(station, now)
    touch_pod(tables, pod_row, now)
    for row in range(len(calls)):
        state = calls[row].state
        if calls[row].pod == pod_row and WAITING <= state <= CALLING:
            station.waiting -= state == WAITING
            station.in_service -= state != WAITING
            station.timed_out += calls[row].parent == NONE
            station.failed += calls[row].parent != NONE
            station.response_seconds += now - calls[row].arrived
            calls[row].state = KILLED
            if calls[row].holds_slot and station.dispatch == shared.CODE:
                free_slot(tables, calls[row].slot)
    station.busy -= pod.busy
    pod.busy = pod.working = pod.waiting = pod.in_service = 0
    for priority in range(clock.priorities):
        tables.queues[len(tables.services) + pod_row, priority].length = 0
    for row in range(len(calls)):
        parent = calls[row].parent
        if calls[row].state != FREE and parent != NONE and calls[parent].state == KILLED:
            unwatch(tables, row)
            calls[row].parent = NONE
    _forget_work(tables, pod_row)
    for row in range(len(calls)):
        if calls[row].state == KILLED:
            answer_with(tables, row, FAILED, 0.0, now)
    pod.service = NONE


@kernel
def _forget_work(tables, pod_row):
    """Drop the events of killed calls and of their pod."""
    clock, events = tables.clock[0], tables.events
    count = clock.events
    clock.events = 0
    for index in range(count):
        time, item = events[index].time, events[index].item
        action, row = item & ACTION_MASK, (item >> ACTION_BITS) & ROW_MASK
        works = action == WORKED and tables.calls[row].state == KILLED
        if not works and not (action == WAKE and row == pod_row):
            push(tables, time, item)
