"""The simulated cluster: SimPy runs the control plane, a compiled kernel every request.

Pods are SimPy processes. Before anything changes, the kernel runs the requests up to that moment,
so between two control-plane events no Python runs per request.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import numpy as np
import simpy

from simulator.arrivals import make_arrivals
from simulator.dataplane import CALL_COUNTS, CALL_SECONDS, REQUEST_COUNTS, REQUEST_SECONDS, DataPlane, Totals
from simulator.draws import BlockStream
from simulator.errors import InputError
from simulator.fcfs import OneQueue
from simulator.kernel.tables import Log
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
    Requests,
    Snapshot,
    group_pods,
    join_groups,
)
from simulator.pods import DRAINING, GONE, PENDING, READY, STARTING, Pods
from simulator.randomness import seed_key
from simulator.scenario import MetricPipeline, Scenario
from simulator.theory import square_root_staffing
from simulator.trace import Trace

_FIRST_LOOK_SECONDS = 60.0
_SECONDS_PER_HOUR = 3600.0


class Cluster:
    """An application on simulated pods: a SimulatedPlant.

    A function of scenario, trace, seed and what is applied when. Two policies meet the same
    arrivals and the same service times, request by request.

    Args:
        log: is given every request, as ``simulator.kernel.tables.LOGGED``.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int | np.random.SeedSequence,
        latency_thresholds_seconds: tuple[float, ...],
        trace: Trace,
        log: Log | None = None,
    ) -> None:
        sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
        arrivals, requests, starts, metrics = sequence.spawn(4)
        application = scenario.system
        self._services = application.services
        self._trace = trace
        self._arrivals = make_arrivals(scenario.workload.arrivals, trace, arrivals)
        self._classes = _logged_classes(trace, [group.name for group in application.classes])
        self._arrived = 0
        plain = application.is_one_queue and log is None
        self._plane: OneQueue | DataPlane
        if plain:
            self._plane = OneQueue(application, seed_key(requests), latency_thresholds_seconds)
        else:
            self._plane = DataPlane(application, seed_key(requests), latency_thresholds_seconds, log)
        rng = np.random.default_rng(starts)
        self._start_ups = [BlockStream(partial(service.start_up.sample, rng)) for service in self._services]
        services = len(self._services)
        self._slots = np.array([service.slots_per_pod for service in self._services])
        self._vcpu = np.array([service.vcpu_per_pod for service in self._services])
        self._usd_per_pod_second = scenario.prices.usd_per_vcpu_hour * self._vcpu / _SECONDS_PER_HOUR
        self._env = simpy.Environment(0.0)
        self._pods = Pods(services)
        self._processes: dict[int, simpy.Process] = {}
        self._pod_seconds = np.zeros(services)
        self._serving_seconds = np.zeros(services)
        self._pods_started = np.zeros(services, dtype=np.int64)
        self._wanted = np.zeros(services, dtype=np.int64)
        self._caught_up = 0.0
        self._rules = PodRules()
        self._staff(scenario)
        self._scraper = Scraper(scenario.metrics)
        self._env.process(self._scrape(scenario.metrics, np.random.default_rng(metrics)))

    @property
    def now_seconds(self) -> float:
        """The simulated time."""
        return float(self._env.now)

    def snapshot(self) -> Snapshot:
        """What a monitoring system shows of the cluster now; axis S is the application's services."""
        phases = self._pods.count()
        sample = self._scraper.visible(self._env.now)
        usage = self._pod_usage(sample)
        metrics = self._service_metrics(sample, usage)
        return Snapshot(
            time_seconds=np.array(self._env.now),
            wanted=self._wanted.copy(),
            starting=phases[PENDING] + phases[STARTING],
            ready=phases[READY],
            draining=phases[DRAINING],
            cpu=metrics["cpu"],
            rate=metrics["rate"],
            latency_p95=metrics["latency_p95"],
            queue=metrics["queue"],
            pods={"cpu": self._pod_groups(sample, usage)},
        )

    def apply(self, desired: Desired) -> None:
        """Create or drain pods until as many are wanted as asked for; bounds are the Guard's business.

        Raises:
            ValueError: if replicas are negative or not one number a service.
        """
        replicas = desired.replicas
        if replicas.shape != self._wanted.shape or (replicas < 0).any():
            msg = f"replicas is {replicas!r}; must be {len(self._wanted)} number(s) of at least 0"
            raise ValueError(msg)
        self._wanted = replicas.astype(np.int64)
        surplus = self._pods.count()[: READY + 1].sum(axis=0) - self._wanted
        if not surplus.any():
            return
        self._catch_up()
        for service, count in enumerate(surplus.tolist()):
            for row in self._pods.to_remove(service, count) if count > 0 else ():
                self._remove(row)
            for _ in range(-count):
                row = self._pods.add(service, self._env.now)
                seconds = float(self._start_ups[service].take(1)[0])
                self._processes[row] = self._env.process(self._start(row, seconds))

    def advance(self, seconds: float) -> Interval:
        """Run the half-open step ``[now, now + seconds)``.

        Raises:
            InputError: if that reaches beyond the end of the trace.
        """
        begin = self._env.now
        end = begin + seconds
        if not seconds > 0 or end > self._trace.duration_seconds + 1e-6:
            msg = (
                f"{self._trace.name}: cannot advance from {begin:g} s by {seconds:g} s; "
                f"the trace ends at {self._trace.duration_seconds:g} s"
            )
            raise InputError(msg)
        before = self._plane.totals()
        pods, serving, started = self._pod_seconds, self._serving_seconds, self._pods_started.copy()
        self._env.run(until=end)
        self._catch_up()
        change = self._plane.totals().since(before)
        pod_seconds, serving_seconds = self._pod_seconds - pods, self._serving_seconds - serving
        return Interval(
            start_seconds=np.array(begin),
            duration_seconds=np.array(float(seconds)),
            **{name: change.services[name] for name in (*CALL_COUNTS, *CALL_SECONDS)},
            latency_counts=change.service_latency_counts,
            serving_slot_seconds=serving_seconds * self._slots,
            cpu_capacity_seconds=serving_seconds * self._vcpu,
            waiting=self._plane.waiting,
            in_service=self._plane.in_service,
            pod_seconds=pod_seconds,
            pods_started=self._pods_started - started,
            cost_usd=pod_seconds * self._usd_per_pod_second,
            requests=self._requests(change),
        )

    def end_log(self) -> None:
        """Give the log what it has not got yet, requests that are not over among it."""
        if isinstance(self._plane, DataPlane):
            self._plane.end_log()

    def _requests(self, change: Totals) -> Requests:
        return Requests(
            **{name: change.classes[name] for name in (*REQUEST_COUNTS, *REQUEST_SECONDS)},
            in_flight=self._plane.in_flight,
            late=change.late,
            latency_counts=change.class_latency_counts,
        )

    def _staff(self, scenario: Scenario) -> None:
        """Ready pods for the mean load of the first minute."""
        bins = max(1, round(_FIRST_LOOK_SECONDS / self._trace.bin_seconds))
        rate = float(self._trace.rate_rps[:bins].mean())
        for index, (service, load) in enumerate(
            zip(self._services, scenario.system.load_seconds(), strict=True)
        ):
            slots = square_root_staffing(rate * load, scenario.staffing_quality)
            pods = -(-slots // service.slots_per_pod)
            self._wanted[index] = min(max(pods, service.min_replicas), service.max_replicas)
            for _ in range(self._wanted[index]):
                row = self._pods.add(index, 0.0)
                self._pods.started[row] = 0.0
                self._make_ready(row)

    def _start(self, row: int, seconds: float) -> Generator[simpy.Event]:
        service = int(self._pods.service[row])
        self._pods_started[service] += 1
        pending = seconds * self._services[service].start_up.pending_share
        try:
            yield self._env.timeout(pending)
            self._pods.phase[row] = STARTING
            self._pods.started[row] = self._env.now
            yield self._env.timeout(seconds - pending)
        except simpy.Interrupt:
            return
        self._catch_up()
        self._make_ready(row)

    def _make_ready(self, row: int) -> None:
        self._pods.phase[row] = READY
        self._pods.ready[row] = self._env.now
        self._plane.open_pod(row, int(self._pods.service[row]))
        self._processes.pop(row, None)

    def _remove(self, row: int) -> None:
        if self._pods.phase[row] != READY:
            self._processes.pop(row).interrupt()
            self._pods.phase[row] = GONE
            return
        self._plane.close_pod(row)
        self._pods.phase[row] = DRAINING
        grace = self._services[int(self._pods.service[row])].drain_grace_seconds
        self._processes[row] = self._env.process(self._drain(row, grace))

    def _drain(self, row: int, seconds: float) -> Generator[simpy.Event]:
        """A pod that still has requests when its grace is over is killed."""
        try:
            yield self._env.timeout(seconds)
        except simpy.Interrupt:
            return
        del self._processes[row]
        self._catch_up()
        if self._pods.phase[row] == DRAINING:
            self._let_go(row)

    def _emptied(self, now: float) -> list[tuple[int, float]]:
        """Draining pods that have finished their last request, and for how long they have been idle since."""
        emptied = self._plane.pod_emptied_seconds
        rows = np.flatnonzero(self._pods.phase[: len(emptied)] == DRAINING).tolist()
        return [(row, now - emptied[row]) for row in rows if emptied[row] <= now]

    def _let_go(self, row: int) -> None:
        if process := self._processes.pop(row, None):
            process.interrupt()
        self._plane.kill_pod(row)
        self._pods.phase[row] = GONE

    def _catch_up(self) -> None:
        """Run all requests before now, with the pods as they have been since the last event."""
        now = self._env.now
        span = now - self._caught_up
        if span <= 0:
            return
        arrivals = self._arrivals.until(now)
        classes = None
        if self._classes is not None:
            classes = self._classes[self._arrived : self._arrived + len(arrivals)]
        self._arrived += len(arrivals)
        self._plane.advance(now, arrivals, classes)
        phases = self._pods.count()
        serving = span * (phases[READY] + phases[DRAINING])
        alive = span * phases[:GONE].sum(axis=0)
        if phases[DRAINING].any():
            for row, idle in self._emptied(now):
                serving[self._pods.service[row]] -= idle
                alive[self._pods.service[row]] -= idle
                self._let_go(row)
        self._pod_seconds = self._pod_seconds + alive
        self._serving_seconds = self._serving_seconds + serving
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
        cpu = np.zeros(rows)
        known = self._plane.pod_cpu_seconds[:rows]
        cpu[: len(known)] = known
        running = (self._pods.phase == READY) | (self._pods.phase == STARTING)
        totals = self._plane.totals()
        return Reading(
            time_seconds=self._env.now,
            offered=totals.services["offered"],
            latency_counts=totals.service_latency_counts,
            waiting=self._plane.waiting,
            pod_cpu_seconds=cpu,
            pod_started_seconds=np.where(running, self._pods.started, np.inf),
        )

    def _pod_usage(self, sample: Sample | None) -> Floats:
        """Used CPU by pod row, in cores; NaN where the pod that has the row now has no sample."""
        usage = np.full(len(self._pods.phase), np.nan)
        if sample is not None:
            rows = len(sample.pod_cores)
            same = sample.pod_started_seconds == self._pods.started[:rows]
            usage[:rows] = np.where(same, sample.pod_cores, np.nan)
        return usage

    def _service_metrics(self, sample: Sample | None, usage: Floats) -> dict[str, Metric]:
        services = len(self._services)
        if sample is None:
            return {name: Metric.missing((services,)) for name in ("cpu", "rate", "latency_p95", "queue")}
        seen = (self._pods.phase == READY) & ~np.isnan(usage)
        owners = self._pods.service[seen]
        used = np.bincount(owners, weights=usage[seen], minlength=services)
        with np.errstate(invalid="ignore"):
            cpu = used / np.bincount(owners, minlength=services) / self._vcpu
        age = np.full(services, self._env.now - sample.time_seconds)
        return {
            "cpu": Metric(cpu, age),
            "rate": Metric(sample.rate_rps, age),
            "latency_p95": Metric(sample.latency_p95_seconds, age),
            "queue": Metric(sample.waiting.astype(np.float64), age),
        }

    def _pod_groups(self, sample: Sample | None, usage: Floats) -> PodGroups:
        return join_groups(
            [self._groups_of(service, sample, usage) for service in range(len(self._services))]
        )

    def _groups_of(self, service: int, sample: Sample | None, usage: Floats) -> PodGroups:
        alive = self._pods.rows(service)
        if not alive.size:
            none = PodGroup.empty((1,))
            return PodGroups(none, none, none, none, np.full(1, np.inf))
        now = self._env.now
        phase, started = self._pods.phase[alive], self._pods.started[alive]
        cores = usage[alive]
        has_sample = ~np.isnan(cores)
        age = np.inf if sample is None else now - sample.time_seconds
        window = 0.0 if sample is None else self._scraper.window_seconds
        is_ready = np.isfinite(self._pods.ready[alive])
        table = PodTable(
            pending=phase == PENDING,
            gone=phase == DRAINING,
            has_ready=np.ones(len(alive), dtype=bool),
            ready=is_ready,
            start_age_seconds=np.where(np.isfinite(started), now - started, np.inf),
            ready_age_seconds=np.where(
                is_ready, now - self._pods.ready[alive], now - self._pods.created[alive]
            ),
            request_milli=np.full(len(alive), round(1000 * self._vcpu[service])),
            has_sample=has_sample,
            usage_milli=np.rint(1000 * np.where(has_sample, cores, 0.0)).astype(np.int64),
            sample_age_seconds=np.full(len(alive), age),
            sample_window_seconds=np.full(len(alive), window),
        )
        return group_pods(table, self._rules)


def _logged_classes(trace: Trace, names: list[str]) -> Ints | None:
    """The class of each request of a log; None where the trace does not say, or there is one class only.

    Raises:
        InputError: if it names a class that the application does not have.
    """
    if trace.classes is None or trace.class_index is None or len(names) == 1:
        return None
    unknown = [name for name in trace.classes if name not in names]
    if unknown:
        msg = f"{trace.name}: class {unknown[0]!r} is unknown; the application has: {', '.join(names)}"
        raise InputError(msg)
    places = np.array([names.index(name) for name in trace.classes], dtype=np.int64)
    return places[trace.class_index]
