"""An Application as the data plane's tables, and more room in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simulator.application import Application, Place
from simulator.dispatch.rule import CODES
from simulator.kernel.tables import (
    CALL,
    CLASS,
    CLOCK,
    EDGE,
    EVENT,
    LOGGED,
    NONE,
    OPERATION,
    POD,
    QUEUE,
    SERVICE,
    SLOT,
    STEP,
    Table,
    Tables,
)
from simulator.latency import BUCKETS
from simulator.operation import Call
from simulator.service import Service

_CALLS, _LOG_ROWS, _SPARE = 256, 1 << 16, 8
Row = dict[str, Any]


class _Graph:
    """Operations, steps and edges as rows that refer to each other by place."""

    def __init__(self, application: Application) -> None:
        self.operations: list[Row] = []
        self.steps: list[Row] = []
        self.edges: list[Row] = []
        self.law_values: list[float] = []
        self._application = application
        self._rows: dict[Place, int] = {}
        for service, each in enumerate(application.services):
            for at in range(len(each.all_operations)):
                self._rows[service, at] = len(self._rows)
        for place in self._rows:
            operation = application.operation(place)
            law = operation.service_time
            row = {"service": place[0], "law": law.code, "law_at": len(self.law_values)}
            self.law_values.extend(law.parameters())
            self._add(row, operation.steps)
        self.classes = [len(self.operations) + index for index in range(len(application.classes))]
        for group in application.classes:
            self._add({"service": NONE}, ((group.entry,),))

    def _add(self, row: Row, steps: Sequence[Sequence[Call]]) -> None:
        self.operations.append(row | {"first_step": len(self.steps), "steps": len(steps)})
        for calls in steps:
            self.steps.append({"first_edge": len(self.edges), "edges": len(calls)})
            self.edges.extend(self._edge(call) for call in calls)

    def _edge(self, call: Call) -> Row:
        row: Row = {
            "operation": self._rows[self._application.find(call)],
            "fallback": NONE,
            "count": call.count,
            "optional": call.optional,
            "probability": call.probability,
            "network_seconds": call.network_seconds,
            "timeout_seconds": np.inf if call.timeout_seconds is None else call.timeout_seconds,
            "timer_head": NONE,
            "timer_tail": NONE,
            "wake": np.inf,
            "max_attempts": 1,
            "budget_burst": np.inf,
        }
        if call.fallback:
            row |= {
                "fallback": self._rows[self._application.find(call.fallback)],
                "fallback_network_seconds": call.fallback.network_seconds,
            }
        if call.retry:
            row |= {
                "max_attempts": call.retry.max_attempts,
                "back_off_seconds": call.retry.back_off_seconds,
                "back_off_cap_seconds": call.retry.back_off_cap_seconds,
                "jitter": call.retry.jitter,
            }
            if budget := call.retry.budget:
                row |= {
                    "budget_ratio": budget.ratio,
                    "budget_per_second": budget.per_second,
                    "budget_burst": budget.burst,
                    "tokens": min(budget.per_second, budget.burst),
                }
        if breaker := call.breaker:
            row |= {
                "breaker_calls": breaker.window_calls,
                "breaker_ratio": breaker.failure_ratio,
                "breaker_open_seconds": breaker.open_seconds,
                "breaker_trials": breaker.trial_calls,
            }
        return row

    @property
    def widest(self) -> int:
        """Most calls that one step makes."""
        return max(
            sum(int(edge["count"]) for edge in self.edges[step["first_edge"] :][: step["edges"]])
            for step in self.steps
        )


def assemble(
    application: Application, seed: np.uint64, thresholds_seconds: Sequence[float], *, logs: bool
) -> Tables:
    """Tables of an application without pods, at time 0.

    Args:
        seed: of the requests' keys.
        thresholds_seconds: K latencies past which requests are counted as late.
        logs: whether finished requests are written to the log.
    """
    graph = _Graph(application)
    priorities = sorted({group.priority for group in application.classes}, reverse=True)
    services, classes, thresholds = (
        len(application.services),
        len(application.classes),
        len(thresholds_seconds),
    )
    windows = max(edge.get("breaker_calls", 1) for edge in graph.edges)
    clock: Row = {"seed": seed, "priorities": len(priorities), "room": graph.widest + _SPARE}
    clock |= dict.fromkeys(("free_call", "free_slot", "live_head", "live_tail"), NONE)
    shares = np.cumsum([group.share for group in application.classes])
    tables = Tables(
        clock=_rows(CLOCK, [clock]),
        calls=np.zeros(0, CALL),
        pods=np.zeros(0, POD),
        services=_rows(SERVICE, [_service(each, priorities) for each in application.services]),
        operations=_rows(OPERATION, graph.operations),
        steps=_rows(STEP, graph.steps),
        edges=_rows(EDGE, graph.edges),
        classes=_rows(
            CLASS,
            [
                {"operation": row, "priority": priorities.index(group.priority), "share_until": until}
                for row, group, until in zip(
                    graph.classes, application.classes, shares / shares[-1], strict=True
                )
            ],
        ),
        queues=np.zeros((services, len(priorities)), QUEUE),
        ready=np.zeros((services, 0), np.int32),
        slots=np.zeros(0, SLOT),
        events=np.zeros(0, EVENT),
        agenda=np.zeros(0, np.int64),
        law_values=np.array(graph.law_values, np.float64),
        thresholds=np.array(thresholds_seconds, np.float64),
        cursors=np.full(thresholds, NONE, np.int32),
        late=np.zeros((classes, thresholds), np.int64),
        windows=np.zeros((len(graph.edges), windows), np.int8),
        class_latency=np.zeros((classes, BUCKETS), np.int64),
        service_latency=np.zeros((services, BUCKETS), np.int64),
        log=np.zeros(_LOG_ROWS if logs else 0, LOGGED),
    )
    return with_room(tables, _CALLS + 2 * int(tables.clock["room"][0]))


def _service(service: Service, priorities: list[int]) -> Row:
    shedding = service.shedding
    spared = [] if shedding is None or shedding.spares_priority is None else priorities
    return {
        "slots": service.slots_per_pod,
        "queue_limit": NONE if service.queue_limit_per_pod is None else service.queue_limit_per_pod,
        "dispatch": CODES[service.dispatch],
        "sharing": service.discipline != "slots",
        "batching": service.discipline == "batching",
        "batch_slowdown": service.batch_slowdown,
        "sync": service.holds_slot_while_calling,
        "discards_expired": service.discards_expired,
        "cores": service.vcpu_per_pod,
        "throttles": service.cfs_throttling,
        "shed_seconds": np.inf if shedding is None else shedding.after_waiting_seconds,
        "shed_spares": sum(priority >= (shedding.spares_priority or 0) for priority in spared)
        if shedding
        else 0,
        "idle_head": NONE,
        "idle_tail": NONE,
    }


def with_room(tables: Tables, more: int) -> Tables:
    """The same with room for at least so many more calls, events and actions; what is too small doubles."""
    clock = tables.clock
    if clock["free_calls"][0] < more:
        old = len(tables.calls)
        calls = _longer(tables.calls, max(more, old))
        calls["next"][old:] = np.append(np.arange(old + 1, len(calls)), clock["free_call"][0])
        clock["free_call"] = old
        clock["free_calls"] += len(calls) - old
        tables = tables._replace(calls=calls)
    if clock["events"][0] + more > len(tables.events):
        tables = tables._replace(events=_longer(tables.events, max(more, len(tables.events))))
    if clock["agenda_tail"][0] + more > len(tables.agenda):
        tables = tables._replace(agenda=_longer(tables.agenda, max(more, len(tables.agenda))))
    return tables


def with_slots(tables: Tables, more: int) -> Tables:
    """The same with at least so many free rows for slots."""
    if tables.clock["free_slots"][0] >= more:
        return tables
    old = len(tables.slots)
    slots = _longer(tables.slots, max(more, old))
    slots["next"][old:] = np.append(np.arange(old + 1, len(slots)), tables.clock["free_slot"][0])
    tables.clock["free_slot"] = old
    tables.clock["free_slots"] += len(slots) - old
    return tables._replace(slots=slots)


def with_pods(tables: Tables, rows: int) -> Tables:
    """The same with rows for so many pods."""
    services = len(tables.services)
    old = len(tables.pods)
    more = max(rows, 2 * old) - old
    pods = _longer(tables.pods, more)
    pods["service"][old:] = NONE
    ready = np.zeros((services, len(pods)), np.int32)
    ready[:, : tables.ready.shape[1]] = tables.ready
    return tables._replace(pods=pods, queues=_longer(tables.queues, more), ready=ready)


def _rows(kind: np.dtype[Any], rows: Sequence[Row]) -> Table:
    table = np.zeros(len(rows), kind)
    for place, row in enumerate(rows):
        for name, value in row.items():
            table[name][place] = value
    return table


def _longer(table: Table, more: int) -> Table:
    grown = np.zeros((len(table) + more, *table.shape[1:]), table.dtype)
    grown[: len(table)] = table
    return grown
