"""The call graph as flat arrays for compiled code.

Axes: C classes of requests, O operations with the classes' own first (a class is an operation of no service that
makes one call), then by service, callers before callees, and by lane; L lanes: the calls of one priority at a service;
E calls, by their callers; S services. An operation stands there once for each priority of the requests that reach it.
"""

from __future__ import annotations

import math
from graphlib import TopologicalSorter
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.application import Application, Place
from simulator.arrays import Floats, Ints
from simulator.flow.at_once import largest_of
from simulator.flow.stations import work_cumulants
from simulator.flow.tails import heaviness
from simulator.operation import Call, Callee, Operation

NO_SERVICE = np.uint32(2**32 - 1)
NEVER_SECONDS = 1e6
"""Longer than any SLO or time-out: where no pod is ready."""
Node = tuple[int, int, int]
"""A service, a priority and an operation."""


Places: TypeAlias = NDArray[np.uint32]
"""Places in arrays; compiled code asks of signed ones whether they are counted from the end."""


class Graph(NamedTuple):
    """Who calls whom.

    Attributes:
        order: uint32 ``(S,)``; services, callers before callees.
        lanes: uint32 ``(S + 1,)``; the lanes of the i-th service in that order are ``lanes[i]`` to ``lanes[i + 1]``,
            those of high priority first.
        begins: uint32 ``(L + 1,)``; a lane's operations are ``begins[l]`` to ``begins[l + 1]``.
        priority: int64 ``(L,)``.
        share: float64 ``(C,)``; of all requests.
        service: uint32 ``(O,)``; NO_SERVICE of a class.
        lane: uint32 ``(O,)``; 0 of a class.
        work: float64 ``(O, 3)``; cumulants of an operation's own work, seconds to the power 1, 2 and 3.
        heaviness: float64 ``(O,)``; how far its tail is from a gamma's to a lognormal's, 0 to 1.
        first: uint32 ``(O + 1,)``; an operation's calls are ``first[o]`` to ``first[o + 1]``.
        callee: uint32 ``(E,)``.
        fallback: uint32 ``(E,)``; the operation that is called while the callee's service has no ready pod: the callee
            where there is no other.
        step: int64 ``(E,)``; calls of the same are made at once.
        times: float64 ``(E,)``; such calls, one after another, or at once where ``at_once``.
        at_once: bool ``(E,)``.
        largest: float64 ``(E, 5)``; of so many calls at once, see ``simulator.flow.at_once``.
        probability: float64 ``(E,)``.
        network_seconds: float64 ``(E, 2)``; there and back, to the callee and to the fallback.
        timeout_seconds: float64 ``(E,)``; inf without.
        attempts: float64 ``(E,)``; at most.
        back_off_seconds: float64 ``(E,)``; before a retry, on average.
        retry_ratio: float64 ``(E,)``; retries earned by a first attempt, inf without a budget.
        retries_per_second: float64 ``(E,)``; retries earned by time.
        optional: bool ``(E,)``.
    """

    order: Places
    lanes: Places
    begins: Places
    priority: Ints
    share: Floats
    service: Places
    lane: Places
    work: Floats
    heaviness: Floats
    first: Places
    callee: Places
    fallback: Places
    step: Ints
    times: Floats
    at_once: NDArray[np.bool_]
    largest: Floats
    probability: Floats
    network_seconds: Floats
    timeout_seconds: Floats
    attempts: Floats
    back_off_seconds: Floats
    retry_ratio: Floats
    retries_per_second: Floats
    optional: NDArray[np.bool_]


def places(values: ArrayLike) -> Places:
    """As compiled code takes them."""
    return np.asarray(values, np.uint32)


def flatten(application: Application) -> Graph:
    """The call graph of an application."""
    order = services_in_order(application)
    nodes = nodes_in_order(application)
    classes = len(application.classes)
    numbers = {node: classes + row for row, node in enumerate(nodes)}
    lanes = sorted({node[:2] for node in nodes}, key=lambda lane: (order.index(lane[0]), -lane[1]))
    made: list[tuple[Call, int, int]] = []
    priorities: list[int] = []
    first = [0]
    for group in application.classes:
        made.append((group.entry, group.entry.count, 0))
        priorities.append(group.priority)
        first.append(len(made))
    for node in nodes:
        made += _merged(application.operation(_place(node)))
        priorities += [node[1]] * (len(made) - len(priorities))
        first.append(len(made))

    def number(callee: Callee, priority: int) -> int:
        service, operation = application.find(callee)
        return numbers[service, priority, operation]

    calls = [call for call, _, _ in made]
    retries = [call.retry for call in calls]
    budgets = [retry.budget if retry else None for retry in retries]
    share = np.array([group.share for group in application.classes])
    lane = [lanes.index(node[:2]) for node in nodes]
    laws = [application.operation(_place(node)).service_time for node in nodes]
    return Graph(
        order=places(order),
        lanes=places(np.searchsorted([order.index(service) for service, _ in lanes], range(len(order) + 1))),
        begins=places(classes + np.searchsorted(lane, range(len(lanes) + 1))),
        priority=np.array([priority for _, priority in lanes]),
        share=share / share.sum(),
        service=places([NO_SERVICE] * classes + [node[0] for node in nodes]),
        lane=places([0] * classes + lane),
        work=np.array([(0.0, 0.0, 0.0)] * classes + [work_cumulants(law) for law in laws]),
        heaviness=np.array([0.0] * classes + [heaviness(*work_cumulants(law), law.survival) for law in laws]),
        first=places(first),
        callee=places([number(*call) for call in zip(calls, priorities, strict=True)]),
        fallback=places(
            [
                number(call.fallback or call, priority)
                for call, priority in zip(calls, priorities, strict=True)
            ]
        ),
        step=np.array([step for _, _, step in made]),
        times=np.array([float(count) for _, count, _ in made]),
        at_once=np.array([call.count > 1 for call in calls]),
        largest=np.array([largest_of(call.count) for call in calls]),
        probability=np.array([call.probability for call in calls]),
        network_seconds=2
        * np.array([(call.network_seconds, (call.fallback or call).network_seconds) for call in calls]),
        timeout_seconds=np.array([call.timeout_seconds or math.inf for call in calls]),
        attempts=np.array([float(retry.max_attempts) if retry else 1.0 for retry in retries]),
        back_off_seconds=np.array(
            [retry.back_off_seconds * (1 - retry.jitter / 2) if retry else 0.0 for retry in retries]
        ),
        retry_ratio=np.array([budget.ratio if budget else math.inf for budget in budgets]),
        retries_per_second=np.array([budget.per_second if budget else 0.0 for budget in budgets]),
        optional=np.array([call.optional for call in calls]),
    )


def services_in_order(application: Application) -> list[int]:
    """Services, callers before callees.

    Raises:
        CycleError: if services call each other in a circle.
    """
    graph: dict[int, set[int]] = {place: set() for place in range(len(application.services))}
    for caller, callee in service_calls(application):
        graph[callee].add(caller)
    return list(TopologicalSorter(graph).static_order())


def service_calls(application: Application) -> dict[tuple[int, int], float]:
    """Calls from one service to another that a client's request makes."""
    found: dict[tuple[int, int], float] = {}
    for place, visits in application.visits.items():
        for call in (call for step in application.operation(place).steps for call in step):
            pair = place[0], application.find(call)[0]
            found[pair] = found.get(pair, 0.0) + visits * call.probability * call.count
            if call.fallback:
                found.setdefault((place[0], application.find(call.fallback)[0]), 0.0)
    return found


def nodes_in_order(application: Application) -> list[Node]:
    """The operations as they stand in a Graph, after the classes."""
    order = services_in_order(application)
    return sorted(_reached(application), key=lambda node: (order.index(node[0]), -node[1], node[2]))


def _reached(application: Application) -> set[Node]:
    """All operations that clients' requests can reach, by the requests' priorities."""
    found: set[Node] = set()
    calls = [(group.entry, group.priority) for group in application.classes]
    while calls:
        call, priority = calls.pop()
        for callee in (call, call.fallback or call):
            service, operation = application.find(callee)
            if (service, priority, operation) not in found:
                found.add((service, priority, operation))
                steps = application.operation((service, operation)).steps
                calls += [(each, priority) for step in steps for each in step]
    return found


def _place(node: Node) -> Place:
    return node[0], node[2]


def _merged(operation: Operation) -> list[tuple[Call, int, int]]:
    """Its calls, how often each is made, and the step; the same one in several steps of its own is one of them."""
    alone: dict[Call, tuple[int, int]] = {}
    found = []
    for number, step in enumerate(operation.steps):
        if len(step) == 1 and step[0].count == 1:
            count, first = alone.get(step[0], (0, number))
            alone[step[0]] = count + 1, first
        else:
            found += [(call, call.count, number) for call in step]
    found += [(call, count, first) for call, (count, first) in alone.items()]
    return sorted(found, key=lambda one: one[2])


def visits_of(graph: Graph) -> Floats:
    """Calls of each operation that a client's request makes, first attempts alone, nothing diverted: ``(O,)``."""
    calls = np.append(graph.share, np.zeros(len(graph.service) - len(graph.share)))
    for operation in range(len(calls)):
        for edge in range(graph.first[operation], graph.first[operation + 1]):
            calls[graph.callee[edge]] += calls[operation] * graph.times[edge] * graph.probability[edge]
    return calls
