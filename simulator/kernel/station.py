"""What a service does with a call: takes it in, works on it, lets it go."""

from __future__ import annotations

import numpy as np

from simulator.calls.shedding import sheds
from simulator.compiled import inlined
from simulator.dispatch import shared
from simulator.dispatch.rule import choose_pod
from simulator.kernel.events import do_next, schedule, schedule_after
from simulator.kernel.lists import dequeue, enqueue, free_call, free_slot, make_idle
from simulator.kernel.tables import (
    ANSWER,
    ANSWERING,
    CALLING,
    DROPPED,
    FAILED,
    NONE,
    OK,
    START,
    WAITING,
    WAKE,
    WORKED,
    WORKING,
)
from simulator.latency import BUCKETS, OFFSET, SHIFT
from simulator.laws.draws import draw_seconds
from simulator.randomness import ERROR, SERVICE, purpose_key, uniform
from simulator.sharing import add_thread, done_at, is_done, remove_first, share


@inlined
def count_latency(latencies, seconds):
    """Count a latency in its bucket."""
    bits = np.float64(seconds).view(np.int64)
    latencies[min(max((bits >> SHIFT) - OFFSET, 0), BUCKETS - 1)] += 1


@inlined
def touch_service(station, now):
    """Bring a service's integrals over time up to now."""
    span = now - station.touched
    station.touched = now
    station.waiting_request_seconds += span * station.waiting
    station.busy_slot_seconds += span * station.busy
    station.in_service_request_seconds += span * station.in_service


@inlined
def touch_pod(tables, pod_row, now):
    """Bring a pod's CPU, and what calls that share it have got done, up to now."""
    pod = tables.pods[pod_row]
    station = tables.services[pod.service]
    if station.sharing:
        used = share(pod, station, now)
    else:
        used = (now - pod.touched) * pod.working * pod.cores_per_slot
        pod.touched = now
    pod.cpu_seconds += used
    station.cpu_seconds += used


@inlined
def arrive(tables, row, now):
    """A call reaches its service: it gets a slot, waits, or is dropped."""
    call = tables.calls[row]
    service = tables.operations[call.operation].service
    station = tables.services[service]
    touch_service(station, now)
    station.offered += 1
    station.retried += call.attempt > 0
    call.arrived = now
    pod_row = choose_pod(tables, service, row)
    call.pod = pod_row
    has_queue = station.dispatch == shared.CODE
    owner = service
    waiting, limit = station.waiting, np.int64(station.queue_limit) * station.ready
    if not has_queue and pod_row != NONE:
        has_queue = True
        owner = len(tables.services) + pod_row
        waiting, limit = np.int64(tables.pods[pod_row].waiting), np.int64(station.queue_limit)
        if tables.pods[pod_row].busy >= station.slots:
            pod_row = NONE
    if pod_row != NONE:
        tables.pods[pod_row].busy += 1
        station.busy += 1
        do_next(tables, START, row)
        return
    full = station.queue_limit != NONE and waiting >= limit
    if full or not has_queue or sheds(tables, owner, service, row, now):
        station.dropped += 1
        answer_with(tables, row, DROPPED, 0.0, now)
        return
    call.state = WAITING
    station.waiting += 1
    if call.pod != NONE:
        tables.pods[call.pod].waiting += 1
    enqueue(tables, owner, row)


@inlined
def start(tables, row, now):
    """A call has got a slot and begins its work."""
    call = tables.calls[row]
    operation = tables.operations[call.operation]
    station = tables.services[operation.service]
    touch_service(station, now)
    touch_pod(tables, call.pod, now)
    pod = tables.pods[call.pod]
    station.started += 1
    station.in_service += 1
    station.waited_seconds += now - call.arrived
    call.state = WORKING
    call.holds_slot = True
    pod.working += 1
    pod.in_service += 1
    key = purpose_key(call.key, SERVICE)
    work = draw_seconds(operation.law, tables.law_values, operation.law_at, key)
    if station.sharing:
        call.work = pod.attained + work
        add_thread(tables, call.pod, row)
        plan_wake(tables, call.pod, now)
    else:
        schedule(tables, now + work / pod.pace, WORKED, row)


@inlined
def plan_wake(tables, pod_row, now):
    """Make sure that a pod is looked at when its next thread is done, and not much earlier."""
    pod = tables.pods[pod_row]
    if pod.heap == NONE:
        pod.attained = 0.0
        return
    left = tables.calls[pod.heap].work - pod.attained
    time = done_at(pod, tables.services[pod.service], left, now)
    if time < pod.wake:
        pod.wake = time
        schedule(tables, time, WAKE, pod_row)


@inlined
def wake(tables, pod_row, now):
    """A pod's event: the call whose work is done, NONE if threads have come since it was planned."""
    pod = tables.pods[pod_row]
    if now != pod.wake:
        return NONE
    pod.wake = np.inf
    touch_pod(tables, pod_row, now)
    row = NONE
    if is_done(pod, tables.calls[pod.heap].work - pod.attained, now):
        row = remove_first(tables, pod_row)
    else:
        plan_wake(tables, pod_row, now)
    return row


@inlined
def finish_work(tables, row, now):
    """A call's own work is done; it may have calls to make now."""
    call = tables.calls[row]
    station = tables.services[tables.operations[call.operation].service]
    touch_pod(tables, call.pod, now)
    tables.pods[call.pod].working -= 1
    if station.sharing:
        plan_wake(tables, call.pod, now)
    call.state = CALLING
    if not station.sync:
        touch_service(station, now)
        release_slot(tables, row, now)


@inlined
def leave(tables, row, now):
    """A call leaves its service: served, or failed where the pod errs or a call that it needed was not."""
    call = tables.calls[row]
    service = tables.operations[call.operation].service
    station = tables.services[service]
    touch_service(station, now)
    station.in_service -= 1
    station.response_seconds += now - call.arrived
    if call.holds_slot:
        release_slot(tables, row, now)
    pod = tables.pods[call.pod]
    pod.in_service -= 1
    if not pod.accepting and pod.busy + pod.in_service + pod.waiting == 0:
        pod.emptied = now
    outcome = FAILED if call.outcome != OK or errs(pod, call.key) else OK
    if call.parent == NONE:
        station.timed_out += 1
    elif outcome == OK:
        station.served += 1
        count_latency(tables.service_latency[service], now - call.arrived)
    else:
        station.failed += 1
    answer_with(tables, row, outcome, pod.delay_seconds, now)


@inlined
def errs(pod, key):
    """Whether a pod spoils a call that has finished there: by the call's key, whichever pod it meets."""
    return pod.error_probability > 0.0 and uniform(purpose_key(key, ERROR), 0) < pod.error_probability


@inlined
def answer_with(tables, row, outcome, delay, now):
    """Send a call's answer to its caller, if that still waits; the delay comes on top of the network's."""
    call = tables.calls[row]
    if call.parent == NONE:
        free_call(tables, row)
        return
    call.outcome = outcome
    call.state = ANSWERING
    schedule_after(tables, now, network_seconds(tables.edges[call.edge], call) + delay, ANSWER, row)


@inlined
def network_seconds(edge, call):
    """What a call takes on its way, and its answer."""
    return edge.fallback_network_seconds if call.falls_back else edge.network_seconds


@inlined
def release_slot(tables, row, now):
    """A slot is free: the next waiting call gets it."""
    call = tables.calls[row]
    call.holds_slot = False
    pod = tables.pods[call.pod]
    station = tables.services[pod.service]
    is_shared = station.dispatch == shared.CODE
    following = NONE
    if not is_shared or pod.accepting:
        following = next_waiting(tables, pod.service if is_shared else len(tables.services) + call.pod, now)
    if following != NONE:
        tables.calls[following].pod = call.pod
        tables.calls[following].slot = call.slot
        do_next(tables, START, following)
        return
    pod.busy -= 1
    station.busy -= 1
    if is_shared and pod.accepting:
        make_idle(tables, pod.service, call.slot)
    elif is_shared:
        free_slot(tables, call.slot)


@inlined
def next_waiting(tables, owner, now):
    """The next call of an owner's queues; given-up ones on the way are discarded where the service does so."""
    while True:
        row = dequeue(tables, owner)
        if row == NONE:
            return NONE
        call = tables.calls[row]
        station = tables.services[tables.operations[call.operation].service]
        station.waiting -= 1
        if call.pod != NONE:
            tables.pods[call.pod].waiting -= 1
        if call.parent != NONE or not station.discards_expired:
            return row
        station.timed_out += 1
        station.response_seconds += now - call.arrived
        free_call(tables, row)
