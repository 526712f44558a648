"""The data plane's tables: one row a call in flight, a pod, a service, an edge of the call graph.

All state lives in these arrays, so that a run can be cut anywhere and goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NONE = -1
"""No row."""

FREE, TRAVELLING, WAITING, WORKING, CALLING, ANSWERING, BACKING_OFF, KILLED = range(8)
"""States of a call: not in use, on its way, in a queue, at work, waiting for its own calls, its answer
on the way, between two attempts, its pod killed. From WAITING to CALLING it is at its service."""

OK, DROPPED, TIMED_OUT, FAILED, REFUSED, IN_FLIGHT = range(6)
"""Outcomes: answered; turned away by the service; given up by the caller; failed; stopped by a breaker;
in a log: not over."""

PROCEED, ARRIVE, START, WORKED, ANSWER, ISSUE, WAKE, TIMER = range(8)
"""Actions, each on a call; WAKE is on a pod, TIMER on an edge."""

ACTION_BITS = 3
ACTION_MASK = (1 << ACTION_BITS) - 1
ROW_MASK = (1 << 31) - 1
NUMBER_SHIFT = ACTION_BITS + 31
NUMBER_MASK = (1 << 29) - 1
"""An event's item: action, row, running number. That begins anew after 2**29, which only ties can see."""

CALL = np.dtype(
    [
        ("key", "u8"),
        ("arrived", "f8"),  # at its service; a client's request: when it was made
        ("issued", "f8"),  # by its caller
        ("work", "f8"),  # sharing: what the pod's attained service will be when it is done
        ("parent", "i4"),  # the caller's row; NONE once it has given up
        ("operation", "i4"),
        ("edge", "i4"),
        ("branch", "i4"),
        ("attempt", "i4"),
        ("pod", "i4"),
        ("slot", "i4"),
        ("step", "i4"),
        ("pending", "i4"),  # own calls not answered yet
        ("retries", "i4"),  # of own calls
        ("next", "i4"),  # in its queue, in the list of live requests, or among siblings in a heap
        ("previous", "i4"),  # as next; the first child in a heap
        ("timer_next", "i4"),
        ("timer_previous", "i4"),
        ("request_class", "i2"),
        ("priority", "i1"),
        ("outcome", "i1"),
        ("state", "i1"),
        ("timed", "b1"),  # whether it is in its edge's list of deadlines
        ("holds_slot", "b1"),
        ("falls_back", "b1"),  # whether it goes to its edge's fallback
    ],
    align=True,
)

POD = np.dtype(
    [
        ("service", "i4"),
        ("busy", "i4"),
        ("working", "i4"),
        ("waiting", "i4"),
        ("in_service", "i4"),
        ("heap", "i4"),  # sharing: the call that will be done first
        ("accepting", "b1"),
        ("cores", "f8"),
        ("speed", "f8"),  # work done a core-second
        ("cores_per_slot", "f8"),
        ("pace", "f8"),  # slots: work that a call gets done a second
        ("quota_seconds", "f8"),  # CFS: core-seconds a period; inf is no throttling
        ("delay_seconds", "f8"),  # of its answers, beside the network's
        ("error_probability", "f8"),  # of a call that has finished
        ("cpu_seconds", "f8"),  # core-seconds used since the row was given to a pod
        ("touched", "f8"),  # up to when cpu_seconds and attained are counted
        ("attained", "f8"),  # sharing: work that a call at work since the last idle time has got
        ("spent", "f8"),  # CFS: quota used in the current period
        ("wake", "f8"),  # time of the pod's event
        ("emptied", "f8"),  # when it finished its last request after it was closed
    ],
    align=True,
)

SERVICE = np.dtype(
    [
        ("slots", "i4"),
        ("queue_limit", "i4"),  # a pod; NONE is no limit
        ("dispatch", "i4"),
        ("sharing", "b1"),  # processor sharing or batching instead of a slot's own pace
        ("batching", "b1"),
        ("batch_slowdown", "f8"),
        ("sync", "b1"),  # whether a call keeps its slot while it waits for its own calls
        ("discards_expired", "b1"),
        ("diverted", "b1"),  # whether calls go to their fallbacks
        ("throttles", "b1"),  # CFS bandwidth control
        ("cores", "f8"),  # of a pod, unless it has a number of its own
        ("shed_seconds", "f8"),  # inf is no shedding
        ("shed_spares", "i4"),  # priorities below this row of queues are shed
        ("ready", "i4"),
        ("turn", "i4"),
        ("idle_head", "i4"),
        ("idle_tail", "i4"),
        ("waiting", "i8"),
        ("in_service", "i8"),
        ("busy", "i8"),
        ("touched", "f8"),
        ("offered", "i8"),
        ("started", "i8"),
        ("served", "i8"),
        ("dropped", "i8"),
        ("timed_out", "i8"),
        ("failed", "i8"),
        ("retried", "i8"),
        ("refused", "i8"),
        ("waited_seconds", "f8"),
        ("waiting_request_seconds", "f8"),
        ("busy_slot_seconds", "f8"),
        ("in_service_request_seconds", "f8"),
        ("response_seconds", "f8"),
        ("cpu_seconds", "f8"),
    ],
    align=True,
)

OPERATION = np.dtype(
    [
        ("service", "i4"),  # NONE is the client
        ("law", "i4"),
        ("law_at", "i4"),
        ("first_step", "i4"),
        ("steps", "i4"),
    ],
    align=True,
)

STEP = np.dtype([("first_edge", "i4"), ("edges", "i4")], align=True)

EDGE = np.dtype(
    [
        ("operation", "i4"),  # that is called
        (
            "fallback",
            "i4",
        ),  # operation that is called while the service of the first is diverted; NONE is none
        ("fallback_network_seconds", "f8"),
        ("count", "i4"),
        ("optional", "b1"),
        ("probability", "f8"),
        ("network_seconds", "f8"),  # one way
        ("timeout_seconds", "f8"),  # inf is none
        ("timer_head", "i4"),
        ("timer_tail", "i4"),
        ("wake", "f8"),  # time of the edge's event
        ("max_attempts", "i4"),
        ("back_off_seconds", "f8"),
        ("back_off_cap_seconds", "f8"),
        ("jitter", "f8"),
        ("budget_ratio", "f8"),
        ("budget_per_second", "f8"),
        ("budget_burst", "f8"),  # inf is no budget
        ("tokens", "f8"),
        ("refilled", "f8"),
        ("breaker_calls", "i4"),  # 0 is no breaker
        ("breaker_ratio", "f8"),
        ("breaker_open_seconds", "f8"),
        ("breaker_trials", "i4"),
        ("breaker_mode", "i4"),
        ("breaker_since", "f8"),
        ("window_at", "i4"),
        ("window_filled", "i4"),
        ("window_failures", "i4"),
        ("trials_issued", "i4"),
        ("trials_done", "i4"),
        ("trials_failed", "i4"),
    ],
    align=True,
)

CLASS = np.dtype(
    [
        ("operation", "i4"),
        ("priority", "i4"),
        ("share_until", "f8"),  # cumulative
        ("offered", "i8"),
        ("served", "i8"),
        ("dropped", "i8"),
        ("timed_out", "i8"),
        ("failed", "i8"),
        ("in_flight", "i8"),
        ("response_seconds", "f8"),
        ("in_flight_request_seconds", "f8"),
        ("touched", "f8"),
    ],
    align=True,
)

QUEUE = np.dtype([("head", "i4"), ("tail", "i4"), ("length", "i4")], align=True)

SLOT = np.dtype([("pod", "i4"), ("next", "i4")], align=True)

EVENT = np.dtype([("time", "f8"), ("item", "i8")], align=True)

LOGGED = np.dtype(
    [
        ("arrived_seconds", "f8"),
        ("latency_seconds", "f8"),
        ("request_class", "i4"),
        ("retries", "i4"),
        ("outcome", "i1"),
    ],
    align=True,
)

CLOCK = np.dtype(
    [
        ("begin", "f8"),  # of the stretch
        ("now", "f8"),
        ("seed", "u8"),
        ("requests", "i8"),  # user requests begun
        ("taken", "i8"),  # of the stretch's arrivals
        ("events", "i8"),
        ("scheduled", "i8"),  # running number of the last event
        ("agenda_head", "i8"),
        ("agenda_tail", "i8"),
        ("free_call", "i4"),
        ("free_calls", "i8"),
        ("free_slot", "i4"),
        ("free_slots", "i8"),
        ("live_head", "i4"),
        ("live_tail", "i4"),
        ("logged", "i8"),
        ("priorities", "i4"),
        ("room", "i8"),  # rows that one action may need
    ],
    align=True,
)

Table = NDArray[Any]
Log = Callable[[Table], None]
"""Takes finished requests, rows of LOGGED, block by block."""


class Tables(NamedTuple):
    """All state of a data plane.

    Attributes:
        clock: (1,) of CLOCK.
        queues: (S + pods, P): a row for each service, then for each pod; highest priority first.
        ready: (S, ...): rows of the ready pods of a service, in the order in which they became ready.
        events: a binary heap by time.
        agenda: what happens next at this very moment, first in, first out.
        cursors: (K,): the oldest live request not counted as late yet, by threshold.
        windows: (E, W): last outcomes of an edge with a breaker, 1 is a failure.
        log: finished requests not fetched yet; empty where nobody asks.
    """

    clock: Table
    calls: Table
    pods: Table
    services: Table
    operations: Table
    steps: Table
    edges: Table
    classes: Table
    queues: Table
    ready: Table
    slots: Table
    events: Table
    agenda: Table
    law_values: Table
    thresholds: Table
    cursors: Table
    late: Table
    windows: Table
    class_latency: Table
    service_latency: Table
    log: Table
