"""Pods in the groups by which the HPA trusts them: the same for a simulated and a real cluster.

Source: kubernetes/kubernetes pkg/controller/podautoscaler/replica_calculator.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Floats, Ints


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
_PLACES = np.arange(len(POD_KINDS))[:, np.newaxis]


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
    kinds, requests = pod_kinds(pods, rules), pods.request_milli
    members = kinds == _PLACES
    sampled, everyone = pods.has_sample, np.ones(len(kinds), dtype=np.int64)
    table = np.array([everyone, sampled, np.where(sampled, pods.usage_milli, 0), requests])
    sums = members.astype(np.int64) @ table.T
    if requests.min(initial=0) < 0:
        sums[kinds[requests < 0], -1] = -1
    singles: list[tuple[int, ...]] = [()] * len(POD_KINDS)
    if (requests != requests[:1]).any():
        of_kinds = [requests[each] for each in members]
        singles = [tuple(each.tolist()) if (each != each[:1]).any() else () for each in of_kinds]
    groups = {
        name: PodGroup(count, samples, usage, requested, not single, single)
        for name, (count, samples, usage, requested), single in zip(
            POD_KINDS, sums[..., np.newaxis], singles, strict=True
        )
    }
    ages = pods.sample_age_seconds[members[0]]
    return PodGroups(**groups, age_seconds=np.array([ages.max() if ages.size else np.inf]))


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
