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
_SEED = np.uint64(20260101)


@dataclass(frozen=True, slots=True)
class Station:
    """What was measured.

    Attributes:
        mean_seconds: work of a call of the mix.
        pods: float64 ``(P,)``.
        loads: float64 ``(U,)``.
        extra: float64 ``(P, U, 3)``; what a call takes beside its work: the roots of its cumulants by their order.
    """

    mean_seconds: float
    pods: Floats
    loads: Floats
    extra: Floats


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
    extra = np.array([[_measure(service, shares, mean, pods, load) for load in LOADS] for pods in PODS])
    return Station(
        mean,
        np.array(PODS, np.float64),
        np.array(LOADS),
        np.maximum(extra - work, 0.0) ** (1 / np.arange(1, 4)),
    )


def _mixed(cumulants: Floats, shares: Floats) -> Floats:
    """Cumulants of one that is drawn from several: float64 ``(3,)``."""
    first, second, third = cumulants.T
    offset = first - shares @ first
    variance = shares @ (second + offset**2)
    return np.array([shares @ first, variance, shares @ (third + 3 * offset * second + offset**3)])


def _measure(service: Service, shares: Floats, mean: float, pods: int, load: float) -> Floats:
    """Cumulants of how long a call takes: float64 ``(3,)``."""
    taken: list[Table] = []
    plane = DataPlane(_alone(service, shares), _SEED, log=taken.append)
    for pod in range(pods):
        plane.open_pod(pod, 0, service.most_vcpu)
    _shuffle(plane, pods * service.slots_per_pod)
    units = service.slots_per_pod if service.discipline == "slots" else service.most_vcpu
    rng = np.random.default_rng(int(_SEED))
    arrivals = _SHUFFLED_SECONDS + np.cumsum(rng.exponential(mean / (load * pods * units), _CALLS))
    plane.advance(float(np.nextafter(arrivals[-1], np.inf)), arrivals)
    plane.flush_log()
    log = np.concatenate(taken)
    counted = log["arrived_seconds"] >= arrivals[round(_WARM_UP_SHARE * _CALLS)]
    seconds = log["latency_seconds"][counted]
    offset = seconds - seconds.mean()
    return np.array([seconds.mean(), np.mean(offset**2), np.mean(offset**3)])


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
