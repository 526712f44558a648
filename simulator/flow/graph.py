"""The call graph and its stations as flat arrays for compiled code.

Axes: C classes of requests, O operations with the classes' own first (a class is an operation of no service that
makes one call), then by service, callers before callees; E calls, by their callers; S services; K pairs of services of
which one calls the other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from graphlib import TopologicalSorter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.application import Application
from simulator.arrays import Floats, Ints
from simulator.flow.stations import learn_station, metric_units, work_cumulants, work_units
from simulator.flow.tails import PEARSON_P95, PEARSON_SURVIVAL
from simulator.operation import Call, Operation
from simulator.service import Service
from simulator.waking import LOOK_SECONDS

NO_SERVICE = -1
NEVER_SECONDS = 1e6
"""Longer than any SLO or time-out: where no pod is ready."""
Place = tuple[int, int]


class Graph(NamedTuple):
    """Who calls whom.

    Attributes:
        order: int64 ``(S,)``; services, callers before callees.
        begins: int64 ``(S + 1,)``; the operations of the i-th service in that order are ``begins[i]`` to
            ``begins[i + 1]``.
        share: float64 ``(C,)``; of all requests.
        service: int64 ``(O,)``; NO_SERVICE of a class.
        work: float64 ``(O, 3)``; cumulants of an operation's own work, seconds to the power 1, 2 and 3.
        first: int64 ``(O + 1,)``; an operation's calls are ``first[o]`` to ``first[o + 1]``.
        callee: int64 ``(E,)``.
        fallback: int64 ``(E,)``; the operation that is called while the callee's service has no ready pod: the callee
            where there is no other.
        step: int64 ``(E,)``; calls of the same are made at once.
        times: float64 ``(E,)``; such calls, one after another, or at once where ``at_once``.
        at_once: bool ``(E,)``.
        probability: float64 ``(E,)``.
        network_seconds: float64 ``(E, 2)``; there and back, to the callee and to the fallback.
        timeout_seconds: float64 ``(E,)``; inf without.
        attempts: float64 ``(E,)``; at most.
        back_off_seconds: float64 ``(E,)``; before a retry, on average.
        retry_ratio: float64 ``(E,)``; retries earned by a first attempt, inf without a budget.
        retries_per_second: float64 ``(E,)``; retries earned by time.
        optional: bool ``(E,)``.
    """

    order: Ints
    begins: Ints
    share: Floats
    service: Ints
    work: Floats
    first: Ints
    callee: Ints
    fallback: Ints
    step: Ints
    times: Floats
    at_once: NDArray[np.bool_]
    probability: Floats
    network_seconds: Floats
    timeout_seconds: Floats
    attempts: Floats
    back_off_seconds: Floats
    retry_ratio: Floats
    retries_per_second: Floats
    optional: NDArray[np.bool_]


class Stations(NamedTuple):
    """What services can do.

    Attributes:
        mean_seconds: float64 ``(S,)``; work of a call of the usual mix.
        request_variance: float64 ``(S,)``; of the work that one client's request makes, seconds squared.
        units: float64 ``(S,)``; work that a pod can do in a second, over what its CPU request can.
        slots: float64 ``(S,)``; of a pod; inf where they are free while its calls are out.
        own_pace: bool ``(S,)``; whether a call works on a slot by itself, and takes longer where that has less CPU.
        pairs: int64 ``(K, 2)``; caller and callee, the last callers first.
        pair_calls: float64 ``(K,)``; calls that one of the caller's makes there.
        pair_patience: float64 ``(K,)``; seconds after which the caller has given up all attempts, or inf.
        patience_seconds: float64 ``(S,)``; how long a service may have no ready pod until calls go elsewhere.
        cold_seconds: float64 ``(S,)``; how long a call waits while no pod is ready; NEVER_SECONDS but where it wakes.
        room: float64 ``(S,)``; calls that a pod may have beyond those at work, inf without a limit.
        fewness: float64 ``(P,)``; one over the numbers of pods for which ``extra`` is known.
        stress: float64 ``(U,)``; one over what the loads for which it is known leave free.
        extra: float64 ``(S, P, U, 3)``; what a call takes beside its work at full speed: the roots of its cumulants
            by their order, seconds.
        in_batches: bool ``(S,)``; then few calls use all of a pod's CPU.
        effort: float64 ``(S, P, U)``; a load makes ``1 - exp(-effort load)`` of the CPU of batches busy.
        survival: float64; see ``simulator.flow.tails``.
        p95: float64; see ``simulator.flow.tails``.
    """

    mean_seconds: Floats
    request_variance: Floats
    units: Floats
    slots: Floats
    own_pace: NDArray[np.bool_]
    pairs: Ints
    pair_calls: Floats
    pair_patience: Floats
    patience_seconds: Floats
    cold_seconds: Floats
    room: Floats
    fewness: Floats
    stress: Floats
    extra: Floats
    in_batches: NDArray[np.bool_]
    effort: Floats
    survival: Floats
    p95: Floats


class Flows(NamedTuple):
    """Where the calls of each cluster stand; all but ``calls`` are of the part of a step before, while one happens.

    Attributes:
        calls: float64 ``(N, O)``; that come in this part.
        waiting: float64 ``(N, O)``; that came before and are not worked on yet.
        response: float64 ``(N, O, 4)``; cumulants of how long a call takes, seconds, and the first of them without
            waits for backlogs.
        failing: float64 ``(N, O)``; share of calls that fail.
        lost: float64 ``(N, E)``; share of attempts that fail or take too long.
        demand: float64 ``(N, S)``; calls of a service in this part.
        turned_away: float64 ``(N, S)``; share of calls.
        wait_seconds: float64 ``(N, S)``; for the backlog.
        extra: float64 ``(N, S, 3)``; see ``Stations``.
        held_seconds: float64 ``(N, S)``; how long a call keeps a slot where no backlog is waited for.
        most: float64 ``(N, S)``; calls that can be worked on in this part.
        waits_for: int64 ``(N, S)``; the callee that limits ``most``, or NO_SERVICE.
        kept_full: bool ``(N, S)``; whether a caller has more calls for it than it can take: then it works all the time.
        diverted: bool ``(N, S)``; whether its calls go to their fallbacks.
        against_seconds: float64 ``(N, S)``; how long that has been wrong.
        busy: float64 ``(N, S)``; work done.
        offered: float64 ``(N, S)``; calls in this control step, and what rounding left of the one before.
    """

    calls: Floats
    waiting: Floats
    response: Floats
    failing: Floats
    lost: Floats
    demand: Floats
    turned_away: Floats
    wait_seconds: Floats
    extra: Floats
    held_seconds: Floats
    most: Floats
    waits_for: Ints
    kept_full: NDArray[np.bool_]
    diverted: NDArray[np.bool_]
    against_seconds: Floats
    busy: Floats
    offered: Floats

    @staticmethod
    def of(count: int, graph: Graph, services: int) -> Flows:
        """For so many clusters, with nothing in them."""
        operations, calls = len(graph.service), len(graph.callee)
        return Flows(
            calls=np.zeros((count, operations)),
            waiting=np.zeros((count, operations)),
            response=np.zeros((count, operations, 4)),
            failing=np.zeros((count, operations)),
            lost=np.zeros((count, calls)),
            demand=np.zeros((count, services)),
            turned_away=np.zeros((count, services)),
            wait_seconds=np.zeros((count, services)),
            extra=np.zeros((count, services, 3)),
            held_seconds=np.zeros((count, services)),
            most=np.zeros((count, services)),
            waits_for=np.zeros((count, services), np.int64),
            kept_full=np.zeros((count, services), np.bool_),
            diverted=np.zeros((count, services), np.bool_),
            against_seconds=np.zeros((count, services)),
            busy=np.zeros((count, services)),
            offered=np.zeros((count, services)),
        )

    def forget(self, which: Ints) -> None:
        """Begin anew in these clusters, int64 ``(n,)``."""
        for values in self:
            values[which] = 0


def flatten(application: Application) -> Graph:
    """The call graph of an application."""
    order = services_in_order(application)
    places = sorted(application.visits, key=lambda place: (order.index(place[0]), place[1]))
    classes = len(application.classes)
    numbers = {place: classes + row for row, place in enumerate(places)}
    made: list[tuple[Call, int, int]] = []
    first = [0]
    for group in application.classes:
        made.append((group.entry, group.entry.count, 0))
        first.append(len(made))
    for place in places:
        made += _merged(application.operation(place))
        first.append(len(made))
    calls = [call for call, _, _ in made]
    retries = [call.retry for call in calls]
    budgets = [retry.budget if retry else None for retry in retries]
    share = np.array([group.share for group in application.classes])
    begins = np.searchsorted([order.index(place[0]) for place in places], range(len(order) + 1))
    return Graph(
        order=np.array(order),
        begins=classes + begins,
        share=share / share.sum(),
        service=np.array([NO_SERVICE] * len(share) + [place[0] for place in places]),
        work=np.array(
            [(0.0, 0.0, 0.0)] * len(share)
            + [work_cumulants(application.operation(place).service_time) for place in places]
        ),
        first=np.array(first),
        callee=np.array([numbers[application.find(call)] for call in calls]),
        fallback=np.array([numbers[application.find(call.fallback or call)] for call in calls]),
        step=np.array([step for _, _, step in made]),
        times=np.array([float(count) for _, count, _ in made]),
        at_once=np.array([call.count > 1 for call in calls]),
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


def equip(application: Application) -> Stations:
    """What the services of an application can do; each is measured on the request engine's data plane."""
    services = application.services
    visits, works = application.visits, _request_work(application)
    mixes = [
        tuple(visits.get((place, operation), 0.0) for operation in range(len(service.all_operations)))
        for place, service in enumerate(services)
    ]
    pairs = _pairs(application)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        learnt = list(pool.map(learn_station, services, mixes))
    return Stations(
        mean_seconds=np.array([each.mean_seconds for each in learnt]),
        request_variance=works[:, 1] - works[:, 0] ** 2,
        units=np.array([work_units(each) / metric_units(each) for each in services]),
        slots=np.array([_held_slots(each) for each in services]),
        own_pace=np.array([each.discipline == "slots" for each in services]),
        pairs=np.array([pair for pair, _ in pairs], np.int64).reshape(-1, 2),
        pair_calls=np.array([calls for _, calls in pairs], np.float64),
        pair_patience=np.array([_patience_seconds(application, *pair) for pair, _ in pairs], np.float64),
        patience_seconds=np.array(
            [each.health_check.every_seconds * each.health_check.threshold for each in services]
        ),
        cold_seconds=np.array([_cold_seconds(each) for each in services]),
        room=np.array([_room(each) for each in services]),
        fewness=1 / learnt[0].pods,
        stress=1 / (1 - learnt[0].loads),
        extra=np.array([each.extra for each in learnt]),
        in_batches=np.array([each.discipline == "batching" for each in services]),
        effort=np.array([each.effort for each in learnt]),
        survival=PEARSON_SURVIVAL,
        p95=PEARSON_P95,
    )


def _cold_seconds(service: Service) -> float:
    """Half the time between two looks for traffic, then a start-up."""
    start_up = service.start_up
    usual = LOOK_SECONDS / 2 + start_up.p50_seconds * math.exp(start_up.sigma**2 / 2)
    return usual if service.wakes else NEVER_SECONDS


def services_in_order(application: Application) -> list[int]:
    """Services, callers before callees.

    Raises:
        CycleError: if services call each other in a circle.
    """
    graph: dict[int, set[int]] = {place: set() for place in range(len(application.services))}
    for caller, callee in _service_calls(application):
        graph[callee].add(caller)
    return list(TopologicalSorter(graph).static_order())


def _service_calls(application: Application) -> dict[tuple[int, int], float]:
    """Calls from one service to another that a client's request makes."""
    found: dict[tuple[int, int], float] = {}
    for place, visits in application.visits.items():
        for call in (call for step in application.operation(place).steps for call in step):
            pair = place[0], application.find(call)[0]
            found[pair] = found.get(pair, 0.0) + visits * call.probability * call.count
            if call.fallback:
                found.setdefault((place[0], application.find(call.fallback)[0]), 0.0)
    return found


def _pairs(application: Application) -> list[tuple[tuple[int, int], float]]:
    """Caller and callee with the calls there that one of the caller's makes, the last callers first."""
    order = services_in_order(application)
    visits = [0.0] * len(order)
    for place, calls in application.visits.items():
        visits[place[0]] += calls
    made = {pair: calls / visits[pair[0]] for pair, calls in _service_calls(application).items() if calls > 0}
    return sorted(made.items(), key=lambda one: -order.index(one[0][0]))


def _patience_seconds(application: Application, caller: int, callee: int) -> float:
    """How long calls of one service to another hold what waits for them at most."""
    calls = [
        call
        for operation in application.services[caller].all_operations
        for step in operation.steps
        for call in step
        if application.find(call)[0] == callee
    ]
    longest = 0.0
    for call in calls:
        attempts = call.retry.max_attempts if call.retry else 1
        pause = call.retry.back_off_seconds * (1 - call.retry.jitter / 2) if call.retry else 0.0
        longest = max(longest, attempts * (call.timeout_seconds or math.inf) + (attempts - 1) * pause)
    return longest


def _held_slots(service: Service) -> float:
    calls = any(operation.steps for operation in service.all_operations)
    shares = service.discipline == "processor_sharing"
    holds = service.holds_slot_while_calling and (calls or shares)
    return float(service.slots_per_pod) if holds else math.inf


def _room(service: Service) -> float:
    if service.queue_limit_per_pod is None:
        return math.inf
    return float(
        service.queue_limit_per_pod + (0 if service.discipline == "slots" else service.slots_per_pod)
    )


def _merged(operation: Operation) -> Iterator[tuple[Call, int, int]]:
    """Its calls, how often each is made, and the step; the same one in several steps of its own is one of them."""
    alone: dict[Call, int] = {}
    for number, step in enumerate(operation.steps):
        if len(step) == 1 and step[0].count == 1:
            alone[step[0]] = alone.get(step[0], 0) + 1
        else:
            for call in step:
                yield call, call.count, number
    for number, (call, count) in enumerate(alone.items()):
        yield call, count, len(operation.steps) + number


def _request_work(application: Application) -> Floats:
    """Mean and mean square of the work of each service for one client's request: float64 ``(S, 2)``."""
    services = range(len(application.services))
    found: dict[Place, Floats] = {}
    for place in reversed(list(application.visits)):
        operation = application.operation(place)
        law = operation.service_time
        own = np.array([np.eye(len(services))[place[0]] * law.mean_seconds] * 2)
        own[1] *= law.mean_seconds * law.scv
        for call in (call for step in operation.steps for call in step):
            own += _times(found[application.find(call)], call)
        found[place] = own
    total = np.zeros((2, len(services)))
    share = sum(group.share for group in application.classes)
    for group in application.classes:
        mean, variance = _times(found[application.find(group.entry)], group.entry)
        total += group.share / share * np.array([mean, variance + mean**2])
    return np.asarray(total.T)


def _times(work: Floats, call: Call) -> Floats:
    """Mean and variance of the work of what is called so often."""
    mean, variance = work
    chance = call.probability
    return call.count * np.array([chance * mean, chance * (variance + (1 - chance) * mean**2)])
