"""The simulated cluster: SimPy runs the control plane, a compiled kernel every request.

Pods are SimPy processes. Before anything changes, the kernel runs the requests up to that moment,
so between two control-plane events no Python runs per request.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import simpy

from simulator.arrivals import BlockStream, PoissonArrivals
from simulator.dataplane import FAILED, OFFERED, SERVED, STARTED, Station
from simulator.errors import InputError
from simulator.metrics import Reading, Sample, Scraper
from simulator.plant import (
    Desired,
    Floats,
    Interval,
    Ints,
    Metric,
    PodGroup,
    PodGroups,
    PodRules,
    PodTable,
    Snapshot,
    group_pods,
)
from simulator.scenario import MetricPipeline, Scenario
from simulator.theory import square_root_staffing
from simulator.trace import Trace

_PENDING, _STARTING, _READY, _DRAINING, _GONE = range(5)
_FIRST_LOOK_SECONDS = 60.0
_SECONDS_PER_HOUR = 3600.0
_INSTANT_SECONDS = 1e-6


class Pods:
    """All pods of a service by row: their phase and the times it changed."""

    def __init__(self) -> None:
        self.phase = np.full(16, _GONE)
        self.created = np.zeros(16)
        self.started = np.full(16, np.inf)
        self.ready = np.full(16, np.inf)

    def add(self, now: float) -> int:
        """A row for a new pod."""
        free = np.flatnonzero(self.phase == _GONE)
        if not free.size:
            free = np.array([len(self.phase)])
            more = len(self.phase)
            self.phase = np.concatenate([self.phase, np.full(more, _GONE)])
            self.created = np.concatenate([self.created, np.zeros(more)])
            self.started = np.concatenate([self.started, np.full(more, np.inf)])
            self.ready = np.concatenate([self.ready, np.full(more, np.inf)])
        row = int(free[0])
        self.phase[row] = _PENDING
        self.created[row] = now
        self.started[row] = self.ready[row] = np.inf
        return row

    def count(self) -> Ints:
        """int64 ``(5,)``; pods by phase."""
        return np.bincount(self.phase, minlength=_GONE + 1)

    def to_remove(self, count: int) -> list[int]:
        """Rows in the order a ReplicaSet deletes: pending, not ready, ready for the shortest time.

        Source: kubernetes/kubernetes pkg/controller/controller_utils.go, ActivePodsWithRanks.
        """
        active = np.flatnonzero(self.phase <= _READY)
        ready = np.where(np.isfinite(self.ready[active]), self.ready[active], 0.0)
        order = np.lexsort((-active, -self.created[active], -ready, self.phase[active]))
        return [int(row) for row in active[order[:count]]]


@dataclass(slots=True)
class _Integrals:
    pod_seconds: float = 0.0
    serving_slot_seconds: float = 0.0
    pods_started: int = 0


class Cluster:
    """One service on simulated pods: a SimulatedPlant.

    A function of scenario, trace, seed and what is applied when. Two policies meet the same
    arrivals and the same service times, request by request.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int | np.random.SeedSequence,
        latency_thresholds_seconds: tuple[float, ...],
        trace: Trace,
    ) -> None:
        sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
        arrivals, demands, starts, metrics = (np.random.default_rng(child) for child in sequence.spawn(4))
        service = scenario.service
        self._service = service
        self._usd_per_pod_second = (
            scenario.prices.usd_per_vcpu_hour * service.vcpu_per_pod / _SECONDS_PER_HOUR
        )
        self._end_seconds = trace.duration_seconds
        self._name = trace.name
        self._arrivals = PoissonArrivals(trace, arrivals)
        self._demands = BlockStream(lambda size: service.service_time.sample(demands, size))
        self._start_ups = BlockStream(lambda size: service.start_up.sample(starts, size))
        self._station = Station(latency_thresholds_seconds)
        self._env = simpy.Environment(0.0)
        self._pods = Pods()
        self._processes: dict[int, simpy.Process] = {}
        self._integrals = _Integrals()
        self._caught_up = 0.0
        self._request_milli = round(1000 * service.vcpu_per_pod)
        self._rules = PodRules()
        self._staff(trace, scenario.staffing_quality)
        self._scraper = Scraper(scenario.metrics)
        self._env.process(self._scrape(scenario.metrics, metrics))

    @property
    def now_seconds(self) -> float:
        """The simulated time."""
        return float(self._env.now)

    def snapshot(self) -> Snapshot:
        """What a monitoring system shows of the cluster now; axis S is 1."""
        phases = self._pods.count()
        sample = self._scraper.visible(self._env.now)
        metrics = self._service_metrics(sample)
        return Snapshot(
            time_seconds=np.array(self._env.now),
            wanted=np.array([self._wanted]),
            starting=phases[_PENDING : _PENDING + 1] + phases[_STARTING : _STARTING + 1],
            ready=phases[_READY : _READY + 1],
            draining=phases[_DRAINING : _DRAINING + 1],
            cpu=metrics["cpu"],
            rate=metrics["rate"],
            latency_p95=metrics["latency_p95"],
            queue=metrics["queue"],
            pods={"cpu": self._pod_groups(sample)},
        )

    def apply(self, desired: Desired) -> None:
        """Create or drain pods until as many are wanted as asked for.

        Raises:
            ValueError: if replicas are negative or not of shape ``(1,)``.
        """
        if desired.replicas.shape != (1,) or desired.replicas[0] < 0:
            msg = f"replicas is {desired.replicas!r}; must be one number of at least 0"
            raise ValueError(msg)
        self._wanted = int(desired.replicas[0])
        surplus = int(np.count_nonzero(self._pods.phase <= _READY)) - self._wanted
        if surplus == 0:
            return
        self._catch_up()
        for row in self._pods.to_remove(surplus) if surplus > 0 else ():
            self._remove(row)
        for _ in range(-surplus):
            row = self._pods.add(self._env.now)
            self._processes[row] = self._env.process(self._start(row, float(self._start_ups.take(1)[0])))

    def advance(self, seconds: float) -> Interval:
        """Run the half-open step ``[now, now + seconds)``.

        Raises:
            InputError: if that reaches beyond the end of the trace.
        """
        begin = self._env.now
        end = begin + seconds
        if not seconds > 0 or end > self._end_seconds + 1e-6:
            msg = (
                f"{self._name}: cannot advance from {begin:g} s by {seconds:g} s; "
                f"the trace ends at {self._end_seconds:g} s"
            )
            raise InputError(msg)
        before = self._station.totals()
        integrals = _Integrals(
            self._integrals.pod_seconds, self._integrals.serving_slot_seconds, self._integrals.pods_started
        )
        self._env.run(until=end)
        self._catch_up()
        change = self._station.totals().since(before)
        pod_seconds = self._integrals.pod_seconds - integrals.pod_seconds
        counts, sums = change.counts, change.seconds
        return Interval(
            start_seconds=np.array(begin),
            duration_seconds=np.array(float(seconds)),
            offered=counts[OFFERED : OFFERED + 1],
            started=counts[STARTED : STARTED + 1],
            served=counts[SERVED : SERVED + 1],
            failed=counts[FAILED : FAILED + 1],
            late=change.late[np.newaxis],
            latency_counts=change.latency_counts[np.newaxis],
            waited_seconds=sums[0:1],
            waiting_request_seconds=sums[1:2],
            busy_slot_seconds=sums[2:3],
            serving_slot_seconds=np.array(
                [self._integrals.serving_slot_seconds - integrals.serving_slot_seconds]
            ),
            waiting=np.array([self._station.waiting]),
            in_service=np.array([self._station.in_service]),
            pod_seconds=np.array([pod_seconds]),
            pods_started=np.array([self._integrals.pods_started - integrals.pods_started]),
            cost_usd=np.array([pod_seconds * self._usd_per_pod_second]),
        )

    def _staff(self, trace: Trace, quality: float) -> None:
        """Ready pods for the mean load of the first minute."""
        bins = max(1, round(_FIRST_LOOK_SECONDS / trace.bin_seconds))
        load = float(trace.rate_rps[:bins].mean()) * self._service.service_time.mean_seconds
        pods = -(-square_root_staffing(load, quality) // self._service.slots_per_pod)
        self._wanted = min(max(pods, self._service.min_replicas), self._service.max_replicas)
        for _ in range(self._wanted):
            row = self._pods.add(0.0)
            self._pods.started[row] = 0.0
            self._make_ready(row)

    def _start(self, row: int, seconds: float) -> Generator[simpy.Event]:
        self._integrals.pods_started += 1
        pending = seconds * self._service.start_up.pending_share
        try:
            yield self._env.timeout(pending)
            self._pods.phase[row] = _STARTING
            self._pods.started[row] = self._env.now
            yield self._env.timeout(seconds - pending)
        except simpy.Interrupt:
            return
        self._catch_up()
        self._make_ready(row)

    def _make_ready(self, row: int) -> None:
        self._pods.phase[row] = _READY
        self._pods.ready[row] = self._env.now
        self._station.open_slots(row, self._service.slots_per_pod)
        self._processes.pop(row, None)

    def _remove(self, row: int) -> None:
        if self._pods.phase[row] != _READY:
            self._processes.pop(row).interrupt()
            self._pods.phase[row] = _GONE
            return
        last = self._station.close_slots(row)
        self._pods.phase[row] = _DRAINING
        wait = min(last + _INSTANT_SECONDS - self._env.now, self._service.drain_grace_seconds)
        self._env.process(self._drain(row, wait))

    def _drain(self, row: int, seconds: float) -> Generator[simpy.Event]:
        yield self._env.timeout(seconds)
        self._catch_up()
        self._station.release_pod(row)
        self._pods.phase[row] = _GONE

    def _catch_up(self) -> None:
        """Run all requests before now, with the pods as they have been since the last event."""
        now = self._env.now
        span = now - self._caught_up
        if span <= 0:
            return
        arrivals = self._arrivals.until(now)
        self._station.advance(now, arrivals, self._demands.take(len(arrivals)))
        phases = self._pods.count()
        self._integrals.pod_seconds += span * int(phases[:_GONE].sum())
        serving = int(phases[_READY] + phases[_DRAINING])
        self._integrals.serving_slot_seconds += span * serving * self._service.slots_per_pod
        self._caught_up = now

    def _scrape(self, pipeline: MetricPipeline, rng: np.random.Generator) -> Generator[simpy.Event]:
        """Nothing ties scrapes to decisions, so where in their interval they fall is drawn once."""
        drawn = rng.random() * pipeline.scrape_seconds
        first = pipeline.first_scrape_seconds
        yield self._env.timeout(drawn if first is None else first)
        while True:
            self._catch_up()
            self._scraper.record(self._reading())
            yield self._env.timeout(pipeline.scrape_seconds)

    def _reading(self) -> Reading:
        rows = len(self._pods.phase)
        busy = np.zeros(rows)
        known = self._station.pod_busy_seconds[:rows]
        busy[: len(known)] = known
        running = (self._pods.phase == _READY) | (self._pods.phase == _STARTING)
        return Reading(
            time_seconds=self._env.now,
            totals=self._station.totals(),
            waiting=self._station.waiting,
            pod_busy_seconds=busy,
            pod_started_seconds=np.where(running, self._pods.started, np.inf),
        )

    def _pod_usage(self, sample: Sample | None) -> Floats:
        """Used CPU by pod row, in cores; NaN where the pod that has the row now has no sample."""
        usage = np.full(len(self._pods.phase), np.nan)
        if sample is not None:
            rows = len(sample.pod_busy)
            same = sample.pod_started_seconds == self._pods.started[:rows]
            cores = sample.pod_busy * (self._service.vcpu_per_pod / self._service.slots_per_pod)
            usage[:rows] = np.where(same, cores, np.nan)
        return usage

    def _service_metrics(self, sample: Sample | None) -> dict[str, Metric]:
        names = ("cpu", "rate", "latency_p95", "queue")
        if sample is None:
            return {name: Metric.missing((1,)) for name in names}
        usage = self._pod_usage(sample)[self._pods.phase == _READY]
        usage = usage[~np.isnan(usage)]
        cpu = usage.mean() / self._service.vcpu_per_pod if usage.size else np.nan
        values = (cpu, sample.rate_rps, sample.latency_p95_seconds, sample.waiting)
        age = np.array([self._env.now - sample.time_seconds])
        return {
            name: Metric(np.array([float(value)]), age) for name, value in zip(names, values, strict=True)
        }

    def _pod_groups(self, sample: Sample | None) -> PodGroups:
        alive = np.flatnonzero(self._pods.phase < _GONE)
        if not alive.size:
            none = PodGroup.empty((1,))
            return PodGroups(none, none, none, none, np.full(1, np.inf))
        now = self._env.now
        phase, started = self._pods.phase[alive], self._pods.started[alive]
        usage = self._pod_usage(sample)[alive]
        has_sample = ~np.isnan(usage)
        age = np.inf if sample is None else now - sample.time_seconds
        window = 0.0 if sample is None else self._scraper.window_seconds
        is_ready = np.isfinite(self._pods.ready[alive])
        table = PodTable(
            pending=phase == _PENDING,
            gone=phase == _DRAINING,
            has_ready=np.ones(len(alive), dtype=bool),
            ready=is_ready,
            start_age_seconds=np.where(np.isfinite(started), now - started, np.inf),
            ready_age_seconds=np.where(
                is_ready, now - self._pods.ready[alive], now - self._pods.created[alive]
            ),
            request_milli=np.full(len(alive), self._request_milli),
            has_sample=has_sample,
            usage_milli=np.rint(1000 * np.where(has_sample, usage, 0.0)).astype(np.int64),
            sample_age_seconds=np.full(len(alive), age),
            sample_window_seconds=np.full(len(alive), window),
        )
        return group_pods(table, self._rules)
