"""The seam between what is scaled and what decides: Snapshot, Desired and Plant.

Nothing here knows SimPy, so rules and the deployed controller import it freely. Array shapes
end in axis S (services); leading axes (``...``) are free, so one rule decides for one real
cluster and for thousands of simulated ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from simulator.arrays import Floats, Ints
from simulator.pod_groups import PodGroups


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured quantity and how old it is.

    Attributes:
        value: float64 ``(..., S)``; NaN where missing, never 0 instead.
        age_seconds: float64 ``(..., S)``; seconds since the measurement ended, inf if never seen.
    """

    value: Floats
    age_seconds: Floats

    @staticmethod
    def missing(shape: tuple[int, ...], age_seconds: float = np.inf) -> Metric:
        """A metric nobody has: NaN everywhere, at the given age."""
        return Metric(np.full(shape, np.nan), np.full(shape, float(age_seconds)))


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """The nodes of each group, axis G, int64 ``(..., G)``.

    Attributes:
        starting: launched and not registered yet.
        ready: take pods.
        draining: take none any more and are not gone yet.
    """

    starting: Ints
    ready: Ints
    draining: Ints


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a Plant shows at one moment, and all that a Policy may know.

    Attributes:
        time_seconds: float64 ``(...)``; the Plant's clock.
        wanted: int64 ``(..., S)``; replicas asked for last.
        starting: int64 ``(..., S)``; pods created and not ready yet.
        ready: int64 ``(..., S)``; pods that serve.
        draining: int64 ``(..., S)``; pods told to go and not gone yet.
        cpu: used CPU over requested CPU of the ready pods, as a fraction.
        rate: requests offered per second.
        latency_p95: 95th percentile of response times, seconds; NaN also when nothing finished.
        queue: requests waiting for a slot.
        metrics: further metrics by name; ``"memory"`` is used over requested memory of the ready pods.
        pods: the pods in HPA groups, by resource name (``"cpu"``, ``"memory"``).
        vcpu: float64 ``(..., S)``; CPU that new pods request; None where that is not known.
        memory_gib: float64 ``(..., S)``; the same for memory.
        nodes: None where pods need no nodes, or nobody can say.
    """

    time_seconds: Floats
    wanted: Ints
    starting: Ints
    ready: Ints
    draining: Ints
    cpu: Metric
    rate: Metric
    latency_p95: Metric
    queue: Metric
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    pods: Mapping[str, PodGroups] = field(default_factory=dict)
    vcpu: Floats | None = None
    memory_gib: Floats | None = None
    nodes: NodeCounts | None = None


def take_clusters(seen: Any, which: Ints | slice | int) -> Any:  # noqa: ANN401 - of whatever a Snapshot is made of
    """A Snapshot, or a part of one, of some of the clusters along its first axis, or of one without that axis.

    With a slice arrays are views.
    """
    if isinstance(seen, np.ndarray):
        return seen[which]
    if names := getattr(seen, "__dataclass_fields__", None):
        return type(seen)(*(take_clusters(getattr(seen, name), which) for name in names))
    if isinstance(seen, Mapping):
        return {name: take_clusters(value, which) for name, value in seen.items()}
    return seen


@dataclass(frozen=True, slots=True)
class Desired:
    """What a Plant is asked for.

    Attributes:
        replicas: int64 ``(..., S)``.
        reason: why, in a few words for the decision record; empty where nobody reads it.
        vcpu: float64 ``(..., S)``; CPU request of a pod; pods with another one are replaced. None: as it is.
        memory_gib: float64 ``(..., S)``; the same for memory.
        nodes: int64 ``(..., G)``; sizes of the node groups. None: as they are.
    """

    replicas: Ints
    reason: str = ""
    vcpu: Floats | None = None
    memory_gib: Floats | None = None
    nodes: Ints | None = None

    @staticmethod
    def hold(snapshot: Snapshot, reason: str = "") -> Desired:
        """What is wanted already."""
        return Desired(snapshot.wanted, reason)


@dataclass(frozen=True, slots=True)
class Requests:
    """What became of clients' requests in an Interval, end to end; axis C is their classes.

    A request is late in the interval in which its age passes the threshold, over or not, and at its
    end if it was not served; so late counts add up.

    Attributes:
        offered: int64 ``(..., C)``; requests made.
        served: answered.
        dropped: turned away by the service they go to.
        timed_out: given up by the client.
        failed: answered with an error, or stopped by the client's circuit breaker.
        in_flight: not over at the end.
        late: int64 ``(..., C, K)``; requests that passed each of the K latency thresholds; where requests are not
            simulated one by one float64, as many as are to be expected.
        latency_counts: int64 ``(..., C, B)``; served requests by latency bucket (``simulator.latency``).
        response_seconds: float64 ``(..., C)``; from a request's making to its end, summed over the ended.
        in_flight_request_seconds: float64 ``(..., C)``; integral over time of the number in flight.
    """

    offered: Ints
    served: Ints
    dropped: Ints
    timed_out: Ints
    failed: Ints
    in_flight: Ints
    late: Ints | Floats
    latency_counts: Ints
    response_seconds: Floats
    in_flight_request_seconds: Floats


@dataclass(frozen=True, slots=True)
class NodeInterval:
    """What became of nodes in an Interval, by group, axis G.

    Attributes:
        node_seconds: float64 ``(..., G)``; integral over time of the number of nodes, from launch until gone.
        cost_usd: float64 ``(..., G)``; what they cost.
        launched: int64 ``(..., G)``; nodes launched.
    """

    node_seconds: Floats
    cost_usd: Floats
    launched: Ints


@dataclass(frozen=True, slots=True)
class Interval:
    """What truly happened in ``[start, start + duration)``: read by rewards and measures only.

    Counts are int64 ``(..., S)``, times and money float64 ``(..., S)``: of the calls to each service,
    those of clients and those of other services. What clients see of it is in ``requests``.

    Attributes:
        offered: calls that reached the service, retries among them.
        started: calls that got a slot.
        served: calls answered.
        dropped: calls turned away.
        timed_out: calls that left after their caller had given up.
        failed: calls answered with an error, or ended with their pod.
        retried: calls offered that were not their caller's first attempt.
        refused: calls that callers' circuit breakers stopped; these were not offered.
        latency_counts: int64 ``(..., S, B)``; served calls by bucket of their time at the service.
        waited_seconds: waiting time, summed over the calls that started.
        waiting_request_seconds: integral over time of the number of waiting calls.
        in_service_request_seconds: integral over time of the number of calls begun and not left.
        response_seconds: time at the service, summed over the calls that left after they had waited or started.
        busy_slot_seconds: integral over time of the number of taken slots.
        serving_slot_seconds: integral over time of the number of slots of ready and draining pods.
        cpu_seconds: core-seconds used.
        cpu_capacity_seconds: core-seconds that ready and draining pods requested.
        waiting: calls waiting at the end.
        in_service: calls begun and not left at the end.
        pod_seconds: integral over time of the number of pods, from creation until gone.
        cost_usd: what the pods cost, which is nothing where nodes are paid.
        nodes: None where pods need no nodes.
    """

    start_seconds: Floats
    duration_seconds: Floats
    offered: Ints
    started: Ints
    served: Ints
    dropped: Ints
    timed_out: Ints
    failed: Ints
    retried: Ints
    refused: Ints
    latency_counts: Ints
    waited_seconds: Floats
    waiting_request_seconds: Floats
    in_service_request_seconds: Floats
    response_seconds: Floats
    busy_slot_seconds: Floats
    serving_slot_seconds: Floats
    cpu_seconds: Floats
    cpu_capacity_seconds: Floats
    waiting: Ints
    in_service: Ints
    pod_seconds: Floats
    pods_started: Ints
    cost_usd: Floats
    requests: Requests
    nodes: NodeInterval | None = None

    @property
    def total_usd(self) -> Floats:
        """float64 ``(...)``; what pods and nodes cost together."""
        pods = self.cost_usd.sum(axis=-1)
        return np.asarray(pods if self.nodes is None else pods + self.nodes.cost_usd.sum(axis=-1))


class ChangeRefused(OSError):  # noqa: N818 - a fact, and no error of the Plant's
    """What was asked for was refused, and nothing is changed; it may be asked for again."""


class PlantGone(Exception):  # noqa: N818 - a fact, and no error of the Plant's
    """What was to be scaled does not exist any more; trying again is of no use."""


class Plant(Protocol):
    """Whatever is measured and scaled: a simulated cluster or a real one.

    Both methods raise OSError where the Plant cannot be reached or refuses, which may pass, and
    PlantGone where it is no more.
    """

    def snapshot(self) -> Snapshot:
        """What the Plant shows now."""
        ...

    def apply(self, desired: Desired) -> None:
        """Ask for replicas, and perhaps for requests and nodes."""
        ...


class SimulatedPlant(Plant, Protocol):
    """A Plant whose time is an argument."""

    def advance(self, seconds: float) -> Interval:
        """Let the half-open step ``[now, now + seconds)`` happen and tell what did."""
        ...
