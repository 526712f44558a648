"""What a monitoring system and an API server show of a running cluster: its Snapshot."""

from __future__ import annotations

import numpy as np

from simulator.arrays import Floats
from simulator.deployments import Deployments
from simulator.effects import Effects
from simulator.faults import MetricOutage, MetricStaleness
from simulator.metrics import Reading, Sample, Scraper
from simulator.nodes import BOOTING, DRAINING, MIB_PER_GIB
from simulator.nodes import READY as NODE_READY
from simulator.oom import OomKiller
from simulator.plant import Metric, NodeCounts, Snapshot
from simulator.pod_groups import PodGroup, PodGroups, PodRules, PodTable, group_pods, join_groups
from simulator.pods import BACK_OFF, LOST, PENDING, READY, STARTING
from simulator.pods import DRAINING as POD_DRAINING
from simulator.running import Running

_OF_SERVICES = ("cpu", "rate", "latency_p95", "queue")


class Observation:
    """Reads a cluster's counters and shows them late, as its metric pipeline does."""

    def __init__(
        self,
        running: Running,
        memory: OomKiller,
        deployments: Deployments,
        scraper: Scraper,
        effects: Effects,
        *,
        sees_memory: bool,
    ) -> None:
        self._running = running
        self._memory_of = memory
        self._deployments = deployments
        self._scraper = scraper
        self._effects = effects
        self._vcpu = np.array([service.vcpu_per_pod for service in running.services])
        self._burn = np.array([service.start_cpu_share * service.most_vcpu for service in running.services])
        self._has_memory = sees_memory

    def scrape(self) -> None:
        """Read all counters now."""
        self._fail()
        self._scraper.record(self._reading())

    def snapshot(self) -> Snapshot:
        """What is shown now; axis S is the application's services."""
        running = self._running
        counts = running.pods.counts
        now = running.now
        self._fail()
        sample = self._scraper.visible(now)
        usage = self._usage(sample)
        metrics = self._metrics(sample, usage)
        releases = [self._deployments.release_of(place) for place in range(len(running.services))]
        groups = {"cpu": self._pod_groups(sample, usage)}
        if self._has_memory:
            groups["memory"] = self._pod_groups(sample, self._memory(sample), of_memory=True)
        return Snapshot(
            time_seconds=np.array(now),
            wanted=self._deployments.wanted.copy(),
            starting=counts[PENDING] + counts[STARTING] + counts[BACK_OFF],
            ready=counts[READY] + counts[LOST],
            draining=counts[POD_DRAINING].copy(),
            **{name: metrics[name] for name in _OF_SERVICES},
            metrics={name: metric for name, metric in metrics.items() if name not in _OF_SERVICES},
            pods=groups,
            vcpu=np.array([release.vcpu_milli for release in releases]) / 1000,
            memory_gib=np.array([release.memory_mib for release in releases]) / MIB_PER_GIB,
            nodes=self._nodes(),
        )

    def _fail(self) -> None:
        """Let the scraper feel the faults that go on."""
        self._scraper.fail(
            out=bool(self._effects.of(MetricOutage)), frozen_seconds=self._effects.since(MetricStaleness)
        )

    def _nodes(self) -> NodeCounts | None:
        nodes = self._running.nodes
        if not nodes.groups:
            return None
        return NodeCounts(*(nodes.count_by_group(phase) for phase in (BOOTING, NODE_READY, DRAINING)))

    def _reading(self) -> Reading:
        running = self._running
        pods, plane = running.pods, running.plane
        rows = len(pods.phase)
        cpu = np.zeros(rows)
        known = plane.pod_cpu_seconds[:rows]
        cpu[: len(known)] = known
        is_running = (pods.phase == READY) | (pods.phase == STARTING)
        if self._burn.any():
            until = np.minimum(pods.ready, running.now)
            burnt = self._burn[pods.service] * (until - np.where(is_running, pods.started, until))
            cpu = np.where(pods.phase == STARTING, 0.0, cpu) + np.where(is_running, burnt, 0.0)
        return Reading(
            time_seconds=running.now,
            offered=plane.offered,
            latency_counts=plane.latency_counts,
            waiting=plane.waiting,
            pod_cpu_seconds=cpu,
            pod_started_seconds=np.where(is_running, pods.started, np.inf),
            pod_memory_gib=self._memory_of.used_gib() if self._has_memory else np.empty(0),
        )

    def _usage(self, sample: Sample | None) -> Floats:
        """Used CPU by pod row, in cores; NaN where the pod that has the row now has no sample."""
        return self._of_pods(sample, None if sample is None else sample.pod_cores)

    def _memory(self, sample: Sample | None) -> Floats:
        """Used memory by pod row, in GiB, as for CPU."""
        return self._of_pods(sample, None if sample is None else sample.pod_memory_gib)

    def _of_pods(self, sample: Sample | None, values: Floats | None) -> Floats:
        pods = self._running.pods
        usage = np.full(len(pods.phase), np.nan)
        if sample is not None and values is not None:
            rows = len(values)
            started = sample.pod_started_seconds
            same = (started == pods.started[:rows]) & np.isfinite(started)
            usage[:rows] = np.where(same, values, np.nan)
        return usage

    def _metrics(self, sample: Sample | None, usage: Floats) -> dict[str, Metric]:
        services = len(self._vcpu)
        age = np.full(services, self._running.now - self._scraper.last_seconds)
        names = (*_OF_SERVICES, *(("memory",) if self._has_memory else ()))
        if sample is None:
            return {name: Metric(np.full(services, np.nan), age) for name in names}
        values = {
            "cpu": self._over_requests(
                usage, self._running.pods.vcpu_milli, self._running.nominal_milli, self._vcpu
            ),
            "rate": sample.rate_rps,
            "latency_p95": sample.latency_p95_seconds,
            "queue": sample.waiting.astype(np.float64),
        }
        if self._has_memory:
            mib = self._running.nominal_mib
            values["memory"] = self._over_requests(
                self._memory(sample), self._running.pods.memory_mib, mib, mib / MIB_PER_GIB
            )
        return {name: Metric(value, age) for name, value in values.items()}

    def _over_requests(self, usage: Floats, asked: np.ndarray, nominal: np.ndarray, amount: Floats) -> Floats:
        """float64 ``(S,)``; use over request of the ready pods that have a sample.

        Args:
            asked: by pod row, in thousandths or MiB.
            nominal: ``(S,)``; the usual request in the same unit.
            amount: ``(S,)``; the usual request in the unit of use.
        """
        pods = self._running.pods
        seen = (pods.phase == READY) & ~np.isnan(usage)
        owners = pods.service[seen]
        used = np.bincount(owners, weights=usage[seen], minlength=len(nominal))
        count = np.bincount(owners, minlength=len(nominal))
        with np.errstate(invalid="ignore"):
            if (asked[seen] == nominal[owners]).all():
                return np.asarray(used / count / amount)
            requested = np.bincount(owners, weights=asked[seen], minlength=len(nominal))
            return np.asarray(used / (requested / nominal * amount))

    def _pod_groups(self, sample: Sample | None, usage: Floats, *, of_memory: bool = False) -> PodGroups:
        rules = PodRules(trust_all=of_memory)
        return join_groups(
            [
                self._groups_of(service, sample, usage, rules, of_memory=of_memory)
                for service in range(len(self._vcpu))
            ]
        )

    def _groups_of(
        self, service: int, sample: Sample | None, usage: Floats, rules: PodRules, *, of_memory: bool
    ) -> PodGroups:
        pods, now = self._running.pods, self._running.now
        alive = pods.rows(service)
        if not alive.size:
            none = PodGroup.empty((1,))
            return PodGroups(none, none, none, none, np.full(1, np.inf))
        phase, started = pods.phase[alive], pods.started[alive]
        used = usage[alive]
        has_sample = ~np.isnan(used)
        age = np.inf if sample is None else now - sample.time_seconds
        window = 0.0 if sample is None else self._scraper.window_seconds
        was_ready = np.isfinite(pods.ready[alive])
        is_ready = (phase != LOST) & was_ready
        changed = np.where(was_ready, pods.ready[alive], pods.created[alive])
        requests = 1000 * pods.memory_mib[alive] if of_memory else pods.vcpu_milli[alive]
        scale = 1000 * MIB_PER_GIB if of_memory else 1000
        table = PodTable(
            pending=phase == PENDING,
            gone=phase == POD_DRAINING,
            has_ready=np.ones(len(alive), dtype=bool),
            ready=is_ready,
            start_age_seconds=np.where(np.isfinite(started), now - started, np.inf),
            ready_age_seconds=now - changed,
            request_milli=requests,
            has_sample=has_sample,
            usage_milli=np.rint(scale * np.where(has_sample, used, 0.0)).astype(np.int64),
            sample_age_seconds=np.full(len(alive), age),
            sample_window_seconds=np.full(len(alive), window),
        )
        return group_pods(table, rules)
