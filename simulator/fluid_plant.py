"""The batch engine as a Plant: N clusters that a policy sees, changes and lets run, as it would one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from simulator.arrays import Floats, Ints
from simulator.errors import InputError
from simulator.fluid import FluidClusters
from simulator.plant import Desired, Interval, Metric, NodeInterval, Requests, Snapshot, take_clusters
from simulator.pod_groups import PodGroup, PodGroups


class FluidPlant:
    """FluidClusters with Snapshots that hold pods in the HPA's groups, and with Intervals; axis N is first.

    Latency by bucket is not known (axis B has length 0); violations are those that are to be expected.
    """

    def __init__(self, clusters: FluidClusters) -> None:
        self._clusters = clusters
        self._waiting = clusters.waiting

    @property
    def now_seconds(self) -> Floats:
        """float64 ``(N,)``; the simulated time."""
        return self._clusters.now_seconds

    def snapshot(self) -> Snapshot:
        """What is shown now, copied; axes N and S."""
        shown = self._clusters.snapshot()
        age_seconds = shown.rate.age_seconds.copy()
        return replace(
            shown,
            wanted=shown.wanted.copy(),
            starting=shown.starting.copy(),
            ready=shown.ready.copy(),
            draining=shown.draining.copy(),
            nodes=None if shown.nodes is None else take_clusters(shown.nodes, np.arange(len(shown.ready))),
            cpu=Metric(shown.cpu.value.copy(), age_seconds),
            rate=Metric(shown.rate.value.copy(), age_seconds),
            latency_p95=Metric(shown.latency_p95.value.copy(), age_seconds),
            queue=Metric(shown.queue.value.copy(), age_seconds),
            pods=self._groups(),
        )

    def apply(self, desired: Desired) -> None:
        """Ask for replicas.

        Raises:
            InputError: if anything else is asked for.
        """
        for name in ("vcpu", "memory_gib", "nodes"):
            if getattr(desired, name) is not None:
                msg = f"the batch engine takes replicas only; {name} is asked for"
                raise InputError(msg)
        self._clusters.apply(desired.replicas)

    def advance(self, seconds: float) -> Interval:
        """Let a control step happen.

        Raises:
            InputError: if that is not a whole control step.
        """
        clusters = self._clusters
        if not math.isclose(seconds, clusters.period_seconds):
            msg = f"the batch engine goes on by {clusters.period_seconds:g} s, not by {seconds:g} s"
            raise InputError(msg)
        begin = clusters.now_seconds
        happened = clusters.advance()
        offered, usd = happened.offered.copy(), happened.usd.copy()
        waiting = clusters.waiting
        dropped = np.rint(happened.dropped).astype(np.int64)
        expired = np.rint(clusters.expired).astype(np.int64)
        served = offered - dropped - expired - (waiting - self._waiting)
        self._waiting = waiting
        none, unknown = np.zeros_like(offered), np.full(offered.shape, np.nan)
        busy, cores = happened.busy_seconds.copy(), clusters.cores_per_slot
        return Interval(
            start_seconds=begin,
            duration_seconds=np.full(len(begin), float(seconds)),
            offered=offered,
            started=served,
            served=served,
            dropped=dropped,
            timed_out=expired,
            failed=none,
            retried=none,
            refused=none,
            latency_counts=np.zeros((*offered.shape, 0), np.int64),
            waited_seconds=unknown,
            waiting_request_seconds=happened.waiting_seconds.copy(),
            in_service_request_seconds=busy,
            response_seconds=unknown,
            busy_slot_seconds=busy,
            serving_slot_seconds=happened.capacity_seconds.copy(),
            cpu_seconds=busy * cores,
            cpu_capacity_seconds=happened.capacity_seconds * cores,
            waiting=waiting,
            in_service=np.rint(busy / seconds).astype(np.int64),
            pod_seconds=happened.pod_seconds.copy(),
            pods_started=happened.started.copy(),
            cost_usd=usd,
            requests=self._requests(),
            nodes=self._nodes(),
        )

    def _nodes(self) -> NodeInterval | None:
        happened = self._clusters.happened
        if not happened.launched.shape[1]:
            return None
        return NodeInterval(happened.node_seconds.copy(), happened.node_usd.copy(), happened.launched.copy())

    def _requests(self) -> Requests:
        """What clients see, of all classes together; those that wait count as served."""
        offered = self._clusters.happened.requests[:, np.newaxis].copy()
        shape, none = offered.shape, np.zeros_like(offered)
        return Requests(
            offered=offered,
            served=offered,
            dropped=none,
            timed_out=none,
            failed=none,
            in_flight=none,
            late=self._clusters.happened.late[:, np.newaxis, np.newaxis].copy(),
            latency_counts=np.zeros((*shape, 0), np.int64),
            response_seconds=np.full(shape, np.nan),
            in_flight_request_seconds=np.full(shape, np.nan),
        )

    def _groups(self) -> dict[str, PodGroups]:
        trusted, requests = self._clusters.sort_pods(), self._clusters.request_milli
        none = np.zeros_like(trusted.counted)

        def group(count: Ints, samples: Ints, usage_milli: Ints) -> PodGroup:
            return PodGroup(count, samples, usage_milli, count * requests)

        age = np.where(trusted.counted > 0, self._clusters.seen.age_seconds, np.inf)
        return {
            "cpu": PodGroups(
                counted=group(trusted.counted, trusted.counted, trusted.usage_milli),
                unready=group(trusted.unready, none, none),
                missing=group(trusted.missing, none, none),
                ignored=group(none, none, none),
                age_seconds=age,
            )
        }
