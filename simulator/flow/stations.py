"""How long calls take at one service: measured on the request engine's data plane, for a grid of pods and loads.

So whatever the data plane does at a station, sharing the CPU, throttling, dispatch to pods, is in the batch engine as
what a call takes on average, and how much that varies, where the load is steady.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from simulator.application import Application, RequestClass
from simulator.arrays import Floats
from simulator.dataplane import DataPlane
from simulator.kernel.tables import Table
from simulator.laws.draws import sample
from simulator.laws.law import ServiceTimeLaw
from simulator.operation import Call
from simulator.service import Service

PODS = (1, 4, 16)
LOADS = (0.1, 0.3, 0.5, 0.65, 0.8, 0.9, 0.95)
_CALLS = 40_000
_WARM_UP_SHARE = 0.1
_SHUFFLED_SECONDS = 1e4
_DRAWS = 100_000
_LEAST_IDLE = 1e-6
_SEED = np.uint64(20260101)


@dataclass(frozen=True, slots=True)
class Station:
    """What was measured.

    Attributes:
        mean_seconds: work of a call of the mix.
        pods: float64 ``(P,)``.
        loads: float64 ``(U,)``.
        extra: float64 ``(P, U, 3)``; what a call takes beside its work: the roots of its cumulants by their order.
        effort: float64 ``(P, U)``; a load makes ``1 - exp(-effort load)`` of the CPU busy; for batches.
    """

    mean_seconds: float
    pods: Floats
    loads: Floats
    extra: Floats
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
def learn_station(service: Service, mix: tuple[float, ...]) -> Station:
    """Measure a service.

    Args:
        mix: how often each operation is called, relative to the others.
    """
    shares = np.maximum(mix, 1e-9) / np.maximum(mix, 1e-9).sum()
    works = np.array([work_cumulants(operation.service_time) for operation in service.all_operations])
    mean = float(shares @ works[:, 0])
    work = _mixed(works, shares)
    measured = np.array([[_measure(service, shares, mean, pods, load) for load in LOADS] for pods in PODS])
    effort = -np.log(np.maximum(1 - measured[..., 3], _LEAST_IDLE)) / LOADS
    return Station(
        mean,
        np.array(PODS, np.float64),
        np.array(LOADS),
        np.maximum(measured[..., :3] - work, 0.0) ** (1 / np.arange(1, 4)),
        effort,
    )


def _mixed(cumulants: Floats, shares: Floats) -> Floats:
    """Cumulants of one that is drawn from several: float64 ``(3,)``."""
    first, second, third = cumulants.T
    offset = first - shares @ first
    variance = shares @ (second + offset**2)
    return np.array([shares @ first, variance, shares @ (third + 3 * offset * second + offset**3)])


def _measure(service: Service, shares: Floats, mean: float, pods: int, load: float) -> Floats:
    """Cumulants of how long a call takes, and the share of their CPU that pods use: float64 ``(4,)``."""
    taken: list[Table] = []
    plane = DataPlane(_alone(service, shares), _SEED, log=taken.append)
    for pod in range(pods):
        plane.open_pod(pod, 0, service.most_vcpu)
    _shuffle(plane, pods * service.slots_per_pod)
    used = plane.pod_cpu_seconds.sum()
    rng = np.random.default_rng(int(_SEED))
    units = load * pods * work_units(service)
    arrivals = _SHUFFLED_SECONDS + np.cumsum(rng.exponential(mean / units, _CALLS))
    plane.advance(float(np.nextafter(arrivals[-1], np.inf)), arrivals)
    used = (plane.pod_cpu_seconds.sum() - used) / (
        pods * service.most_vcpu * (arrivals[-1] - _SHUFFLED_SECONDS)
    )
    plane.flush_log()
    log = np.concatenate(taken)
    counted = log["arrived_seconds"] >= arrivals[round(_WARM_UP_SHARE * _CALLS)]
    seconds = log["latency_seconds"][counted]
    offset = seconds - seconds.mean()
    return np.array([seconds.mean(), np.mean(offset**2), np.mean(offset**3), used])


def _shuffle(plane: DataPlane, slots: int) -> None:
    """Use all slots at once, so that they are free in no order of pods any more."""
    plane.advance(_SHUFFLED_SECONDS, np.zeros(slots))


def _alone(service: Service, shares: Sequence[float] | Floats) -> Application:
    """The service by itself: it calls nobody and turns nobody away."""
    operations = tuple(each.model_copy(update={"steps": ()}) for each in service.all_operations)
    changes = {"operations": operations, "service_time": None, "queue_limit_per_pod": None}
    alone = service.model_copy(update=changes)
    classes = tuple(
        RequestClass(name=each.name, share=share, entry=Call(to=f"{service.name}.{each.name}"))
        for each, share in zip(operations, shares, strict=True)
    )
    return Application(name=service.name, services=(alone,), classes=classes)
