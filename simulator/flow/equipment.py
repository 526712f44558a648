"""What the services of an application can do, as flat arrays for compiled code.

Axes: S services, L lanes (the calls of one priority at a service), K pairs of services of which one calls the other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.application import Application, Place
from simulator.arrays import Floats, Ints
from simulator.flow.graph import (
    NEVER_SECONDS,
    Graph,
    Places,
    nodes_in_order,
    places,
    service_calls,
    services_in_order,
    visits_of,
)
from simulator.flow.slots import busy_table
from simulator.flow.stations import LOAD_GRID, PODS, Mix, learn_station, metric_units, work_units
from simulator.flow.tails import GAMMA_P95, SURVIVAL
from simulator.operation import Call
from simulator.service import Service
from simulator.waking import LOOK_SECONDS

_LEAST_SHED = 1e-6
_PER_COPY = {"slots": 1.0, "processor_sharing": 0.5, "batching": 0.0}
"""What each more call at once adds to the variability of arrivals: all of it in heavy traffic where calls queue; where
they share a CPU, about half, for those made at once take long together (measured)."""


class Stations(NamedTuple):
    """What services can do; of what was measured, axis P is pods from 0 to the most, and axis U the loads.

    Attributes:
        mean_seconds: float64 ``(S,)``; work of a call of the usual mix.
        request_variance: float64 ``(S,)``; of the work that one client's request makes, seconds squared.
        units: float64 ``(S,)``; work that a pod can do in a second, over what its CPU request can.
        scv: float64 ``(S,)``; squared coefficient of variation of a call's work.
        bunching: float64 ``(S,)``; by how much more calls wait since some come at once.
        slots: float64 ``(S,)``; of a pod; inf where they are free while its calls are out.
        pools: bool ``(S,)``; whether a call takes the slot of any pod that comes free, or nearly so.
        in_turn: bool ``(S,)``; whether each pod has as many calls as any other.
        kept_busy: float64 ``(S, POINTS)``; see ``simulator.flow.slots``.
        shares_pace: bool ``(S,)``; whether what a call takes beside its work is in proportion to it.
        own_pace: bool ``(S,)``; whether a call works on a slot by itself, and takes longer where that has less CPU.
        pairs: uint32 ``(K, 2)``; caller and callee, the last callers first.
        pair_of: int64 ``(E,)``; the pair that a call of the Graph is of, -1 where it is a client's.
        pair_at_once: float64 ``(K,)``; calls that one of the caller's has there at once, at most.
        pair_calls: float64 ``(K,)``; calls that one of the caller's makes there.
        pair_patience: float64 ``(K,)``; seconds after which the caller has given up all attempts, or inf.
        patience_seconds: float64 ``(S,)``; how long a service may have no ready pod until calls go elsewhere.
        cold_seconds: float64 ``(S,)``; how long a call waits while no pod is ready; NEVER_SECONDS but where it wakes.
        room: float64 ``(S,)``; calls that a pod may have beyond those at work, inf without a limit.
        columns: uint32; by loads from 0 in as many steps to 1: the place of the last load measured that is no higher,
            or of the last but one.
        stress: float64 ``(U,)``; one over what the loads measured leave free.
        per_stress: float64 ``(U - 1,)``; one over how much more that is at the next.
        extra: float64 ``(L, P, U, 3)``; what a call takes beside its work at full speed, by pods from 0 on (more are
            like the last): the roots of its cumulants by their order, seconds.
        least_extra: float64 ``(L, P, U, 3)``; the same where pods have no more CPU than they request; of length 0 where
            that is all that they may use, or they always have more.
        shed_seconds: float64 ``(S,)``; new calls are dropped while one has waited longer, inf where none are; of
            length 0 where that holds of all.
        spared: bool ``(L,)``; whether its calls are taken in all the same.
        log_shed: float64 ``(L, P, U)``; logarithm of the share of calls that are dropped though work is done as fast as
            it comes; of length 0 with ``shed_seconds``.
        discards: bool ``(S,)``; whether what has expired is thrown away; of length 0 where nothing is.
        in_batches: bool ``(S,)``; then few calls use all of a pod's CPU.
        effort: float64 ``(S, P, U)``; a load makes ``1 - exp(-effort load)`` of the CPU of batches busy.
        survival: float64; see ``simulator.flow.tails``.
        p95: float64; see ``simulator.flow.tails``.
    """

    mean_seconds: Floats
    request_variance: Floats
    units: Floats
    scv: Floats
    bunching: Floats
    slots: Floats
    pools: NDArray[np.bool_]
    in_turn: NDArray[np.bool_]
    kept_busy: Floats
    shares_pace: NDArray[np.bool_]
    own_pace: NDArray[np.bool_]
    pairs: Places
    pair_of: Ints
    pair_at_once: Floats
    pair_calls: Floats
    pair_patience: Floats
    patience_seconds: Floats
    cold_seconds: Floats
    room: Floats
    columns: Places
    stress: Floats
    per_stress: Floats
    extra: Floats
    least_extra: Floats
    shed_seconds: Floats
    spared: NDArray[np.bool_]
    log_shed: Floats
    discards: NDArray[np.bool_]
    in_batches: NDArray[np.bool_]
    effort: Floats
    survival: Floats
    p95: Floats


def equip(application: Application, graph: Graph, *, bursts: bool = False) -> Stations:
    """What the services of an application can do; each is measured on the request engine's data plane.

    Args:
        bursts: whether their pods share what nodes have left of CPU.
    """
    services = application.services
    works, pairs, mixes = _request_work(application), _pairs(application), _mixes(application, graph)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        learnt = list(pool.map(learn_station, services, mixes))
        least = [each.model_copy(update={"vcpu_limit_per_pod": None}) for each in services if bursts]
        at_least = list(pool.map(learn_station, least, mixes))
    stress = 1 / (1 - learnt[0].loads)
    sheds = any(each.shedding for each in services)
    discards = any(each.discards_expired for each in services)
    by_lane = [learnt[service] for service in graph.order]
    return Stations(
        mean_seconds=np.array([each.mean_seconds for each in learnt]),
        request_variance=works[:, 1] - works[:, 0] ** 2,
        units=np.array([work_units(each) / metric_units(each) for each in services]),
        scv=np.array([each.scv for each in learnt]),
        bunching=_bunching(services, graph, np.array([each.scv for each in learnt])),
        slots=np.array([_held_slots(each) for each in services]),
        pools=np.array([each.dispatch not in {"random", "round_robin"} for each in services]),
        in_turn=np.array([each.dispatch == "round_robin" for each in services]),
        kept_busy=np.array([busy_table(_held_slots(each), work_units(each)) for each in services]),
        shares_pace=np.array([each.discipline != "slots" for each in services]),
        own_pace=np.array([each.discipline == "slots" for each in services]),
        pairs=places([pair for pair, _ in pairs]).reshape(-1, 2),
        pair_of=_pair_of(graph, [pair for pair, _ in pairs]),
        pair_at_once=np.array([_at_once(application, *pair) for pair, _ in pairs], np.float64),
        pair_calls=np.array([calls for _, calls in pairs], np.float64),
        pair_patience=np.array([_patience_seconds(application, *pair) for pair, _ in pairs], np.float64),
        patience_seconds=np.array(
            [each.health_check.every_seconds * each.health_check.threshold for each in services]
        ),
        cold_seconds=np.array([_cold_seconds(each) for each in services]),
        room=np.array([_room(each) for each in services]),
        columns=_columns(learnt[0].loads),
        stress=stress,
        per_stress=1 / np.diff(stress),
        extra=_by_pods([each.extra for each in by_lane]),
        least_extra=_by_pods(
            [at_least[each].extra for each in graph.order] if bursts else [learnt[0].extra[:0]]
        ),
        shed_seconds=np.array(
            [each.shedding.after_waiting_seconds if each.shedding else math.inf for each in services if sheds]
        ),
        spared=_spared(services, graph),
        log_shed=_by_pods(
            [np.log(np.maximum(each.shed, _LEAST_SHED))[: None if sheds else 0] for each in by_lane]
        ),
        discards=np.array([each.discards_expired for each in services if discards], np.bool_),
        in_batches=np.array([each.discipline == "batching" for each in services]),
        effort=_by_pods([each.effort[np.newaxis] for each in learnt]),
        survival=SURVIVAL,
        p95=GAMMA_P95,
    )


def _columns(loads: Floats) -> Places:
    """The place of the last of some loads, all on a grid, that is no higher than that of the grid, nor the last."""
    grid = np.arange(round(1 / LOAD_GRID)) * LOAD_GRID
    return places(np.clip(np.searchsorted(loads, grid + 0.5 * LOAD_GRID) - 1, 0, len(loads) - 2))


def _by_pods(measured: Sequence[Floats]) -> Floats:
    """What was measured of some numbers of pods, ``(L, P, ...)``, together and for all numbers from 0 on."""
    values = np.concatenate(measured)
    few = 1 / np.maximum(np.arange(PODS[-1] + 1), 1)
    place = np.interp(-few, [-1 / pods for pods in PODS], range(len(PODS)))
    row = np.minimum(place.astype(np.int64), len(PODS) - 2)
    beyond = (place - row).reshape(-1, *(1,) * (values.ndim - 2))
    return np.ascontiguousarray(values[:, row] + beyond * (values[:, row + 1] - values[:, row]))


def _mixes(application: Application, graph: Graph) -> list[Mix]:
    """How often the operations of each service are called."""
    mixes: list[list[tuple[int, int, float]]] = [[] for _ in application.services]
    visits = visits_of(graph)[len(graph.share) :].tolist()
    for (service, priority, operation), calls in zip(nodes_in_order(application), visits, strict=True):
        mixes[service].append((priority, operation, calls))
    return [tuple(mix) for mix in mixes]


def _spared(services: Sequence[Service], graph: Graph) -> NDArray[np.bool_]:
    """Which lanes' calls are never shed: bool ``(L,)``."""
    found = np.zeros(len(graph.priority), np.bool_)
    for place, service in enumerate(graph.order):
        shedding, lanes = services[service].shedding, slice(*graph.lanes[place : place + 2])
        if shedding is not None and shedding.spares_priority is not None:
            found[lanes] = graph.priority[lanes] >= shedding.spares_priority
    return found


def _pairs(application: Application) -> list[tuple[tuple[int, int], float]]:
    """Caller and callee with the calls there that one of the caller's makes, the last callers first."""
    order = services_in_order(application)
    visits = [0.0] * len(order)
    for place, calls in application.visits.items():
        visits[place[0]] += calls
    made = {pair: calls / visits[pair[0]] for pair, calls in service_calls(application).items() if calls > 0}
    return sorted(made.items(), key=lambda one: -order.index(one[0][0]))


def _bunching(services: Sequence[Service], graph: Graph, scv: Floats) -> Floats:
    """How long calls wait over how long they would if they came one by one: float64 ``(S,)``."""
    callers = np.repeat(np.arange(len(graph.service)), np.diff(graph.first))
    made = visits_of(graph)[callers] * graph.times * graph.probability
    to = graph.service[graph.callee]
    calls = np.bincount(to, made, len(scv))
    bunches = np.bincount(to, made * np.where(graph.at_once, graph.times, 1.0), len(scv))
    size = np.divide(bunches, calls, out=np.ones_like(calls), where=calls > 0)
    more = np.array([_PER_COPY[each.discipline] for each in services]) * (size - 1.0)
    return np.asarray(1.0 + more / (1.0 + scv))


def _pair_of(graph: Graph, pairs: list[tuple[int, int]]) -> Ints:
    """The place of each call's caller and callee among pairs: int64 ``(E,)``."""
    callers = np.repeat(graph.service, np.diff(graph.first)).tolist()
    callees = graph.service[graph.callee].tolist()
    numbers = {pair: number for number, pair in enumerate(pairs)}
    return np.array([numbers.get(pair, -1) for pair in zip(callers, callees, strict=True)], np.int64)


def _at_once(application: Application, caller: int, callee: int) -> int:
    """How many calls to another service one of a service's has out at the same time, at most."""
    steps = [step for operation in application.services[caller].all_operations for step in operation.steps]
    return max(sum(call.count for call in step if application.find(call)[0] == callee) for step in steps)


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


def _cold_seconds(service: Service) -> float:
    """Half the time between two looks for traffic, then a start-up."""
    start_up = service.start_up
    usual = LOOK_SECONDS / 2 + start_up.p50_seconds * math.exp(start_up.sigma**2 / 2)
    return usual if service.wakes else NEVER_SECONDS


def _room(service: Service) -> float:
    if service.queue_limit_per_pod is None:
        return math.inf
    return float(
        service.queue_limit_per_pod + (0 if service.discipline == "slots" else service.slots_per_pod)
    )


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
