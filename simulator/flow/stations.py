"""How long calls take at one service: measured on the request engine's data plane, for a grid of pods and loads.

So whatever the data plane does at a station, sharing the CPU, throttling, dispatch to pods, is in the batch engine as
what a call takes on average, and how much that varies, where the load is steady.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from simulator.application import Application, RequestClass
from simulator.arrays import Floats
from simulator.dataplane import DataPlane
from simulator.kernel.tables import OK, Table
from simulator.laws.draws import sample
from simulator.laws.law import ServiceTimeLaw
from simulator.operation import Call
from simulator.service import Service

PODS = (1, 4, 16)
LOAD_GRID = 0.05
LOADS = (0.1, 0.3, 0.5, 0.65, 0.8, 0.9, 0.95)
"""On that grid."""
_CALLS = 20_000
"""Measured in each point, over what its load leaves free: what waits is forgotten the later, the higher the load."""
_WARM_UP_SHARE = 0.1
_SHUFFLED_SECONDS = 1e4
_DRAWS = 100_000
_LEAST_IDLE = 1e-6
_SEED = np.uint64(20260101)


Mix = tuple[tuple[int, int, float], ...]
"""Priority, operation, and how often that is called, relative to the others; high priorities first."""


@dataclass(frozen=True, slots=True)
class Station:
    """What was measured: for L lanes, with each of PODS, axis P, at each of LOADS, axis U.

    Attributes:
        mean_seconds: work of a call of the mix.
        scv: its squared coefficient of variation.
        loads: float64 ``(U,)``.
        extra: float64 ``(L, P, U, 3)``; what a call of each lane, high priority first, takes beside its work: the
            roots of its cumulants by their order.
        shed: float64 ``(L, P, U)``; share of calls that are turned away.
        effort: float64 ``(P, U)``; a load makes ``1 - exp(-effort load)`` of the CPU busy; for batches.
    """

    mean_seconds: float
    scv: float
    loads: Floats
    extra: Floats
    shed: Floats
    effort: Floats


def work_units(service: Service) -> float:
    """Work that a pod can do in a second."""
    return service.most_vcpu if service.discipline == "processor_sharing" else metric_units(service)


def metric_units(service: Service) -> float:
    """Work that makes a pod's CPU usage its request, a second, at full load."""
    if service.discipline == "processor_sharing":
        return service.vcpu_per_pod
    return service.slots_per_pod / service.full_batch_slowdown


@cache
def work_cumulants(law: ServiceTimeLaw) -> tuple[float, float, float]:
    """The first three cumulants of a service time, seconds to their powers; the third is of draws."""
    mean, variance = law.mean_seconds, law.scv * law.mean_seconds**2
    if variance == 0.0:
        return mean, 0.0, 0.0
    draws = sample(law, _SEED, _DRAWS)
    skewness = float(np.mean((draws - draws.mean()) ** 3) / draws.std() ** 3)
    return mean, variance, skewness * variance**1.5


@cache
def learn_station(service: Service, mix: Mix) -> Station:
    """Measure a service."""
    shares = np.maximum([calls for _, _, calls in mix], 1e-9)
    shares /= shares.sum()
    works = np.array([work_cumulants(service.all_operations[each].service_time) for _, each, _ in mix])
    priorities = np.array([priority for priority, _, _ in mix])
    lanes = [priorities == priority for priority in dict.fromkeys(priorities.tolist())]
    mean = float(shares @ works[:, 0])
    work = np.array([_mixed(works[lane], shares[lane] / shares[lane].sum()) for lane in lanes])
    alone = _alone(service, mix, shares)
    measured = [[_measure(alone, lanes, mean, pods, load) for load in LOADS] for pods in PODS]
    taken = np.array([[each for each, _ in row] for row in measured]).transpose(2, 0, 1, 3)
    used = np.array([[each for _, each in row] for row in measured])
    return Station(
        mean,
        float(_mixed(works, shares)[1]) / mean**2,
        np.array(LOADS),
        np.maximum(taken[..., :3] - work[:, np.newaxis, np.newaxis], 0.0) ** (1 / np.arange(1, 4)),
        taken[..., 3],
        -np.log(np.maximum(1 - used, _LEAST_IDLE)) / LOADS,
    )


def _mixed(cumulants: Floats, shares: Floats) -> Floats:
    """Cumulants of one that is drawn from several: float64 ``(3,)``."""
    first, second, third = cumulants.T
    offset = first - shares @ first
    variance = shares @ (second + offset**2)
    return np.array([shares @ first, variance, shares @ (third + 3 * offset * second + offset**3)])


def _measure(
    alone: Application, lanes: list[NDArray[np.bool_]], mean: float, pods: int, load: float
) -> tuple[Floats, float]:
    """Of each lane cumulants of how long a call takes and the share turned away, ``(L, 4)``; of all the CPU used."""
    taken: list[Table] = []
    service = alone.services[0]
    plane = DataPlane(alone, _SEED, log=taken.append)
    for pod in range(pods):
        plane.open_pod(pod, 0, service.most_vcpu)
    _shuffle(plane, pods * service.slots_per_pod)
    used = plane.pod_cpu_seconds.sum()
    rng = np.random.default_rng(int(_SEED))
    units, calls = load * pods * work_units(service), round(_CALLS / (1 - load))
    arrivals = _SHUFFLED_SECONDS + np.cumsum(rng.exponential(mean / units, calls))
    plane.advance(float(np.nextafter(arrivals[-1], np.inf)), arrivals)
    used = (plane.pod_cpu_seconds.sum() - used) / (
        pods * service.most_vcpu * (arrivals[-1] - _SHUFFLED_SECONDS)
    )
    plane.flush_log()
    log = np.concatenate(taken)
    log = log[log["arrived_seconds"] >= arrivals[round(_WARM_UP_SHARE * calls)]]
    found = []
    for lane in lanes:
        rows = log[lane[log["request_class"]]]
        seconds = rows["latency_seconds"][rows["outcome"] == OK]
        if not len(seconds):
            seconds = np.zeros(1)
        offset = seconds - seconds.mean()
        shed = 1 - np.mean(rows["outcome"] == OK) if len(rows) else 0.0
        found.append([seconds.mean(), np.mean(offset**2), np.mean(offset**3), shed])
    return np.array(found), used


def _shuffle(plane: DataPlane, slots: int) -> None:
    """Use all slots at once, so that they are free in no order of pods any more."""
    plane.advance(_SHUFFLED_SECONDS, np.zeros(slots))


def _alone(service: Service, mix: Mix, shares: Floats) -> Application:
    """The service by itself: it calls nobody, and its queue has no limit."""
    operations = tuple(each.model_copy(update={"steps": ()}) for each in service.all_operations)
    changes = {"operations": operations, "service_time": None, "queue_limit_per_pod": None}
    alone = service.model_copy(update=changes)
    classes = tuple(
        RequestClass(
            name=f"{operations[each].name} {priority}",
            share=share,
            priority=priority,
            entry=Call(to=f"{service.name}.{operations[each].name}"),
        )
        for (priority, each, _), share in zip(mix, shares.tolist(), strict=True)
    )
    return Application(name=service.name, services=(alone,), classes=classes)
