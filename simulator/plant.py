"""The seam between what is scaled and what decides: Snapshot, Desired, Plant and pod groups.

Nothing here knows SimPy, so rules and the deployed controller import it freely. Array shapes
end in axis S (services); leading axes (``...``) are free, so one rule decides for one real
cluster and for thousands of simulated ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
class PodGroup:
    """Pods of one kind and what they report together.

    Attributes:
        count: int64 ``(..., S)``; pods in the group.
        samples: int64 ``(..., S)``; pods of the group that have a sample.
        usage_milli: int64 ``(..., S)``; sum of their usage in thousandths.
        request_milli: int64 ``(..., S)``; sum of all their requests in thousandths; -1 where a pod
            of the group has none.
        uniform: whether all pods of the group request the same (a pod without a request, too,
            differs from one that has it).
        requests_milli: the single requests of one service's pods where they differ, else empty.
    """

    count: Ints
    samples: Ints
    usage_milli: Ints
    request_milli: Ints
    uniform: bool = True
    requests_milli: tuple[int, ...] = ()

    @staticmethod
    def empty(shape: tuple[int, ...]) -> PodGroup:
        """A group without pods."""
        zeros = np.zeros(shape, dtype=np.int64)
        return PodGroup(zeros, zeros, zeros, zeros)


@dataclass(frozen=True, slots=True)
class PodGroups:
    """The pods of each service as the HPA sorts them for one metric.

    ``counted`` pods enter the ratio; ``unready`` ones are not trusted yet; ``missing`` ones have
    no sample; ``ignored`` ones are deleted or failed.
    """

    counted: PodGroup
    unready: PodGroup
    missing: PodGroup
    ignored: PodGroup
    age_seconds: Floats


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
        metrics: further metrics by name.
        pods: the pods in HPA groups, by resource name (``"cpu"``).
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


@dataclass(frozen=True, slots=True)
class Desired:
    """What a Plant is asked for.

    Attributes:
        replicas: int64 ``(..., S)``.
        reason: why, in a few words for the decision record; empty where nobody reads it.
    """

    replicas: Ints
    reason: str = ""

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
        late: int64 ``(..., C, K)``; requests that passed each of the K latency thresholds.
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
    late: Ints
    latency_counts: Ints
    response_seconds: Floats
    in_flight_request_seconds: Floats


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
        """Ask for replicas."""
        ...


class SimulatedPlant(Plant, Protocol):
    """A Plant whose time is an argument."""

    def advance(self, seconds: float) -> Interval:
        """Let the half-open step ``[now, now + seconds)`` happen and tell what did."""
        ...


@dataclass(frozen=True, slots=True)
class PodSample:
    """One pod's usage, averaged over ``window_seconds`` and measured ``age_seconds`` ago."""

    usage_milli: int
    age_seconds: float
    window_seconds: float


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod as an API server and a metrics server show it.

    Attributes:
        phase: ``Pending``, ``Running``, ``Failed`` or ``Succeeded``.
        ready: the Ready condition; None where there is no such condition.
        start_age_seconds: since the pod was started; None if it was not.
        ready_age_seconds: since the Ready condition last changed.
        request_milli: the resource's request in thousandths; None where a container has none.
        sample: its usage, None if missing.
    """

    phase: str
    deleted: bool
    ready: bool | None
    start_age_seconds: float | None
    ready_age_seconds: float
    request_milli: int | None
    sample: PodSample | None


@dataclass(frozen=True, slots=True)
class PodRules:
    """When a pod's sample is trusted: two flags of kube-controller-manager and the resource.

    Attributes:
        initialization_seconds: ``--horizontal-pod-autoscaler-cpu-initialization-period``.
        readiness_delay_seconds: ``--horizontal-pod-autoscaler-initial-readiness-delay``.
        trust_all: no trust rule at all, as for memory and custom metrics.
    """

    initialization_seconds: float = 300.0
    readiness_delay_seconds: float = 30.0
    trust_all: bool = False


@dataclass(frozen=True, slots=True)
class PodTable:
    """One service's pods as columns of shape ``(P,)``; see Pod for what they mean.

    ``request_milli`` is -1 where a container has no request.
    """

    pending: NDArray[np.bool_]
    gone: NDArray[np.bool_]
    has_ready: NDArray[np.bool_]
    ready: NDArray[np.bool_]
    start_age_seconds: Floats
    ready_age_seconds: Floats
    request_milli: Ints
    has_sample: NDArray[np.bool_]
    usage_milli: Ints
    sample_age_seconds: Floats
    sample_window_seconds: Floats

    @staticmethod
    def of(pods: Iterable[Pod]) -> PodTable:
        """The same pods as columns."""
        rows = list(pods)
        samples = [pod.sample or PodSample(0, 0.0, 0.0) for pod in rows]
        return PodTable(
            pending=np.array([pod.phase == "Pending" for pod in rows], dtype=bool),
            gone=np.array([pod.deleted or pod.phase == "Failed" for pod in rows], dtype=bool),
            has_ready=np.array(
                [pod.ready is not None and pod.start_age_seconds is not None for pod in rows], dtype=bool
            ),
            ready=np.array([bool(pod.ready) for pod in rows], dtype=bool),
            start_age_seconds=np.array([pod.start_age_seconds or 0.0 for pod in rows]),
            ready_age_seconds=np.array([pod.ready_age_seconds for pod in rows]),
            request_milli=np.array(
                [-1 if pod.request_milli is None else pod.request_milli for pod in rows], dtype=np.int64
            ),
            has_sample=np.array([pod.sample is not None for pod in rows], dtype=bool),
            usage_milli=np.array([sample.usage_milli for sample in samples], dtype=np.int64),
            sample_age_seconds=np.array([sample.age_seconds for sample in samples]),
            sample_window_seconds=np.array([sample.window_seconds for sample in samples]),
        )


POD_KINDS = ("counted", "unready", "missing", "ignored")


def pod_kinds(pods: PodTable, rules: PodRules) -> Ints:
    """int64 ``(P,)``; index into POD_KINDS for each pod: ``groupPods`` of the HPA.

    Source: kubernetes/kubernetes pkg/controller/podautoscaler/replica_calculator.go.
    """
    kinds = np.where(_is_trusted(pods, rules), 0, 1)
    kinds[~pods.has_sample] = 2
    kinds[pods.pending] = 1
    kinds[pods.gone] = 3
    return kinds


def _is_trusted(pods: PodTable, rules: PodRules) -> NDArray[np.bool_]:
    if rules.trust_all:
        return np.ones(len(pods.ready), dtype=bool)
    sampled_since_ready = pods.sample_age_seconds + pods.sample_window_seconds <= pods.ready_age_seconds
    was_ready = pods.start_age_seconds - rules.readiness_delay_seconds >= pods.ready_age_seconds
    young = pods.start_age_seconds < rules.initialization_seconds
    trusted = np.where(young, pods.ready & sampled_since_ready, pods.ready | was_ready)
    return np.asarray(trusted & pods.has_ready)


def group_pods(pods: PodTable, rules: PodRules) -> PodGroups:
    """Sort one service's pods into HPA groups; every array has shape ``(1,)``."""
    kinds = pod_kinds(pods, rules)
    counted = kinds == 0
    ages = pods.sample_age_seconds[counted]
    return PodGroups(
        counted=_group(pods, counted),
        unready=_group(pods, kinds == 1),
        missing=_group(pods, kinds == 2),
        ignored=_group(pods, kinds == 3),
        age_seconds=np.array([ages.max() if ages.size else np.inf]),
    )


def join_groups(services: Sequence[PodGroups]) -> PodGroups:
    """The groups of several services, each of shape ``(1,)``, along axis S."""
    if len(services) == 1:
        return services[0]
    groups = {}
    for kind in POD_KINDS:
        parts = [getattr(each, kind) for each in services]
        groups[kind] = PodGroup(
            count=np.concatenate([part.count for part in parts]),
            samples=np.concatenate([part.samples for part in parts]),
            usage_milli=np.concatenate([part.usage_milli for part in parts]),
            request_milli=np.concatenate([part.request_milli for part in parts]),
            uniform=all(part.uniform for part in parts),
        )
    return PodGroups(**groups, age_seconds=np.concatenate([each.age_seconds for each in services]))


def _group(pods: PodTable, members: NDArray[np.bool_]) -> PodGroup:
    if not members.any():
        return PodGroup.empty((1,))
    requests = pods.request_milli[members]
    uniform = bool((requests == requests[0]).all())
    return PodGroup(
        count=np.array([np.count_nonzero(members)]),
        samples=np.array([np.count_nonzero(pods.has_sample[members])]),
        usage_milli=np.array([pods.usage_milli[members & pods.has_sample].sum()]),
        request_milli=np.array([-1 if (requests < 0).any() else requests.sum()]),
        uniform=uniform,
        requests_milli=() if uniform else tuple(requests.tolist()),
    )
