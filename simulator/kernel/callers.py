"""What callers do: make requests, take the next step, call, hear the answer, give up."""

from __future__ import annotations

from simulator.calls.breaker import record, refuses
from simulator.calls.retry import back_off_seconds, earn, may_retry
from simulator.calls.timeout import expired, unwatch, watch
from simulator.compiled import inlined
from simulator.kernel.events import do_next, schedule_after
from simulator.kernel.lists import append_live, free_call, remove_live, take_call
from simulator.kernel.station import count_latency, leave, network_seconds
from simulator.kernel.tables import (
    ANSWER,
    ANSWERING,
    ARRIVE,
    BACKING_OFF,
    CALLING,
    DROPPED,
    FAILED,
    ISSUE,
    NONE,
    OK,
    PROCEED,
    REFUSED,
    TIMED_OUT,
    TRAVELLING,
)
from simulator.randomness import CLASS, ROUTING, call_key, purpose_key, request_key, uniform


@inlined
def touch_class(group, now):
    """Bring a class's integral over time up to now."""
    group.in_flight_request_seconds += (now - group.touched) * group.in_flight
    group.touched = now


@inlined
def draw_class(tables, key):
    """The class of a request, by its key."""
    share = uniform(purpose_key(key, CLASS), 0)
    index = 0
    while index < len(tables.classes) - 1 and share >= tables.classes[index].share_until:
        index += 1
    return index


@inlined
def begin_request(tables, given_class, now):
    """A client makes a request; ``given_class`` is NONE where the class is drawn."""
    clock = tables.clock[0]
    row = take_call(tables)
    call = tables.calls[row]
    call.key = request_key(clock.seed, clock.requests)
    clock.requests += 1
    index = given_class
    if index == NONE:
        index = draw_class(tables, call.key) if len(tables.classes) > 1 else 0
    group = tables.classes[index]
    touch_class(group, now)
    group.offered += 1
    group.in_flight += 1
    call.arrived = now
    call.parent = NONE
    call.operation = group.operation
    call.request_class = index
    call.priority = group.priority
    call.state = CALLING
    call.outcome = OK
    call.step = -1
    call.pending = 0
    call.pod = NONE
    call.timed = False
    call.retries = 0
    append_live(tables, row)
    do_next(tables, PROCEED, row)


@inlined
def proceed(tables, row, now):
    """Take a call's next step that has calls to make; after the last one, or a failure, it is over."""
    call = tables.calls[row]
    operation = tables.operations[call.operation]
    while call.outcome == OK and call.step + 1 < operation.steps:
        call.step += 1
        make_calls(tables, row)
        if call.pending > 0:
            return
    if operation.service == NONE:
        end_request(tables, row, now)
    else:
        leave(tables, row, now)


@inlined
def make_calls(tables, row):
    """All calls of a step, at once; which of them are taken is the caller's key's to say."""
    caller = tables.calls[row]
    step = tables.steps[tables.operations[caller.operation].first_step + caller.step]
    for index in range(step.first_edge, step.first_edge + step.edges):
        edge = tables.edges[index]
        for branch in range(edge.count):
            key = call_key(caller.key, index, branch, 0)
            if edge.probability < 1.0 and uniform(purpose_key(key, ROUTING), 0) >= edge.probability:
                continue
            caller.pending += 1
            child = take_call(tables)
            call = tables.calls[child]
            call.key = key
            call.parent = row
            call.edge = index
            call.branch = branch
            call.attempt = 0
            call.request_class = caller.request_class
            call.priority = caller.priority
            do_next(tables, ISSUE, child)


@inlined
def issue(tables, row, now):
    """Send a call on its way, to its fallback if its service is diverted, unless the breaker stops it."""
    call = tables.calls[row]
    if call.parent == NONE:
        free_call(tables, row)
        return
    edge = tables.edges[call.edge]
    diverted = tables.services[tables.operations[edge.operation].service].diverted
    call.falls_back = diverted and edge.fallback != NONE
    call.operation = edge.fallback if call.falls_back else edge.operation
    call.issued = now
    call.timed = False
    call.step = -1
    call.pending = 0
    call.retries = 0
    call.pod = NONE
    call.holds_slot = False
    if refuses(edge, now):
        tables.services[tables.operations[call.operation].service].refused += 1
        call.outcome = REFUSED
        do_next(tables, ANSWER, row)
        return
    if call.attempt == 0:
        earn(edge, now)
    call.outcome = OK
    call.state = TRAVELLING
    watch(tables, row)
    schedule_after(tables, now, network_seconds(edge, call), ARRIVE, row)


@inlined
def give_up(tables, edge_row, now):
    """A deadline: the caller goes on as if the call had failed, the call itself stays where it is."""
    late = expired(tables, edge_row, now)
    if late == NONE:
        return
    row = take_call(tables)
    tables.calls[row] = tables.calls[late]
    call, lost = tables.calls[row], tables.calls[late]
    call.state = ANSWERING
    call.outcome = TIMED_OUT
    call.pod = NONE
    call.holds_slot = False
    lost.parent = NONE
    do_next(tables, ANSWER, row)


@inlined
def hear(tables, row, now):
    """A call's outcome reaches its caller, who tries again, goes on, or fails."""
    call = tables.calls[row]
    if call.parent == NONE:
        free_call(tables, row)
        return
    unwatch(tables, row)
    edge = tables.edges[call.edge]
    caller = tables.calls[call.parent]
    if call.outcome != REFUSED:
        record(edge, tables.windows[call.edge], call.issued, call.outcome != OK, now)
        if call.outcome != OK and may_retry(edge, call.attempt, now):
            caller.retries += 1
            call.attempt += 1
            call.key = call_key(caller.key, call.edge, call.branch, call.attempt)
            call.state = BACKING_OFF
            wait = back_off_seconds(edge, call.attempt, call.key)
            schedule_after(tables, now, wait, ISSUE, row)
            return
    if call.outcome != OK and not edge.optional:
        caller.outcome = call.outcome
    caller.pending -= 1
    if caller.pending == 0:
        do_next(tables, PROCEED, call.parent)
    free_call(tables, row)


@inlined
def end_request(tables, row, now):
    """A client's request is over: it is counted by what came of it, and as late if it was or failed."""
    clock = tables.clock[0]
    call = tables.calls[row]
    index = call.request_class
    group = tables.classes[index]
    touch_class(group, now)
    group.in_flight -= 1
    latency = now - call.arrived
    group.response_seconds += latency
    if call.outcome == OK:
        group.served += 1
        count_latency(tables.class_latency[index], latency)
    elif call.outcome == DROPPED:
        group.dropped += 1
    elif call.outcome == TIMED_OUT:
        group.timed_out += 1
    else:
        group.failed += 1
    for place in range(len(tables.thresholds)):
        crossing = call.arrived + tables.thresholds[place]
        if crossing >= clock.begin and (crossing < now or call.outcome != OK):
            tables.late[index, place] += 1
    if len(tables.log) > 0:
        write_log(tables, row, latency)
    remove_live(tables, row)
    free_call(tables, row)


@inlined
def write_log(tables, row, latency):
    """Add a finished request to the log."""
    clock, call = tables.clock[0], tables.calls[row]
    entry = tables.log[clock.logged]
    clock.logged += 1
    entry.arrived_seconds = call.arrived
    entry.latency_seconds = latency
    entry.request_class = call.request_class
    entry.retries = call.retries
    entry.outcome = FAILED if call.outcome == REFUSED else call.outcome
