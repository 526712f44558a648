"""The simulated cluster: SimPy runs the control plane, a compiled kernel every request.

Pods and nodes are SimPy processes. Before anything changes, the kernel runs the requests up to that
moment, so between two control-plane events no Python runs per request.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import simpy

from simulator.arrays import Floats, Ints
from simulator.arrivals import make_arrivals
from simulator.dataplane import DataPlane, Totals
from simulator.deployments import Deployments
from simulator.effects import Effects
from simulator.errors import InputError
from simulator.events import Journal
from simulator.faults import OF_ANSWERS, ApiRefusal, FaultLabel, MemoryLeak
from simulator.fcfs import OneQueue
from simulator.health import check_health
from simulator.injection import Injector
from simulator.kernel.tables import Log
from simulator.kubelet import Kubelet
from simulator.metrics import Scraper
from simulator.nodes import MIB_PER_GIB, Nodes
from simulator.observation import Observation
from simulator.oom import OomKiller
from simulator.plant import ChangeRefused, Desired, Interval, NodeInterval, Requests, Snapshot
from simulator.prices import SECONDS_PER_HOUR
from simulator.provisioning import Provisioner
from simulator.randomness import seed_key, spawn_streams
from simulator.release import Release
from simulator.running import Running
from simulator.scenario import Scenario
from simulator.scheduler import Scheduler
from simulator.staffing import Staffing
from simulator.trace import Trace
from simulator.waking import Waker

_FIRST_LOOK_SECONDS = 60.0


class Cluster:
    """An application on simulated pods: a SimulatedPlant.

    A function of scenario, trace, seed and what is applied when. Two policies meet the same
    arrivals and the same service times, request by request, and faults of the same times.

    Args:
        log: is given every request, as ``simulator.kernel.tables.LOGGED``.
        journal: is given every event of the control plane.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int | np.random.SeedSequence,
        latency_thresholds_seconds: tuple[float, ...],
        trace: Trace,
        log: Log | None = None,
        journal: Journal | None = None,
    ) -> None:
        arrivals, requests, starts, metrics, pods, nodes, faults = spawn_streams(seed)
        application = scenario.system
        self._trace = trace
        self._services = application.services
        key = seed_key(requests)
        plane = (
            OneQueue(application, key, latency_thresholds_seconds)
            if log is None and _is_plain(scenario)
            else DataPlane(application, key, latency_thresholds_seconds, log)
        )
        groups = scenario.cluster.groups if scenario.cluster else ()
        billed = scenario.cluster.minimum_billed_seconds if scenario.cluster else 0.0
        self._running = running = Running(
            application.services,
            plane,
            make_arrivals(scenario.workload.arrivals, trace, arrivals),
            _logged_classes(trace, [group.name for group in application.classes]),
            Nodes(groups, billed),
            journal,
            scenario.prices.minimum_billed_seconds if scenario.prices else 0.0,
        )
        self._effects = effects = Effects(running.env)
        scheduler = Scheduler(running, scenario.cluster.packing if scenario.cluster else "least_allocated")
        releases: list[Release] = []
        starts_rng, lives_rng = (np.random.default_rng(each) for each in (starts, pods))
        self._kubelet = kubelet = Kubelet(running, scheduler, effects, starts_rng, lives_rng, releases)
        self._deployments = deployments = Deployments(running, kubelet, releases)
        kubelet.told_ready = deployments.step
        self._provisioner: Provisioner | None = None
        if scenario.cluster is not None:
            self._provisioner = Provisioner(
                running,
                scenario.cluster,
                scheduler,
                kubelet,
                effects,
                np.random.default_rng(nodes),
                deployments.reconcile,
            )
        self._told_requests = running.plane.totals()
        self._told_pods = np.zeros(len(self._services), dtype=np.int64)
        self._told_minima = running.topped_up_seconds
        self._told_nodes: NodeInterval | None = None
        self._set_prices(scenario)
        rate = float(trace.rate_rps[: max(1, round(_FIRST_LOOK_SECONDS / trace.bin_seconds))].mean())
        Staffing(scenario, running, deployments, self._provisioner).staff(rate)
        self._waker = Waker(running, deployments)
        self._watch(scenario, np.random.default_rng(metrics))
        injected, refused = faults.spawn(2)
        self._refusals = np.random.default_rng(refused)
        self._injector = Injector(
            running, scenario.faults, effects, kubelet, deployments, self._provisioner, injected
        )

    def _watch(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Start what looks at the cluster again and again: scrapes, memory, health, waking."""
        running, pipeline = self._running, scenario.metrics
        drawn = rng.random() * pipeline.scrape_seconds
        first = drawn if pipeline.first_scrape_seconds is None else pipeline.first_scrape_seconds
        oom = OomKiller(running, self._kubelet, self._effects)
        has_memory = any(isinstance(fault, MemoryLeak) for fault in scenario.faults) or any(
            each.memory.gib_per_request or each.memory.base_gib for each in self._services
        )
        scraper = Scraper(pipeline, rng)
        self._observation = Observation(
            running, oom, self._deployments, scraper, self._effects, sees_memory=has_memory
        )
        running.env.process(self._scrape(first, pipeline.scrape_seconds))
        if has_memory:
            running.env.process(oom.watch())
        if isinstance(running.plane, DataPlane):
            for place in scenario.system.left_by_fallbacks:
                running.env.process(check_health(running, running.plane, self._deployments, place))
        if any(service.wakes for service in self._services):
            running.env.process(self._waker.watch())

    @property
    def now_seconds(self) -> float:
        """The simulated time."""
        return self._running.now

    @property
    def faults(self) -> tuple[FaultLabel, ...]:
        """The faults that have begun so far, in order."""
        return tuple(self._injector.labels)

    def snapshot(self) -> Snapshot:
        """What a monitoring system shows of the cluster now; axis S is the application's services."""
        return self._observation.snapshot()

    def apply(self, desired: Desired) -> None:
        """Ask for replicas, requests and nodes; bounds are the Guard's business.

        Raises:
            ValueError: if replicas are negative or not one number a service; the same for requests, which are
                above 0, and for nodes, one number a group, where there are any.
            ChangeRefused: if the API refuses, which is a fault; nothing is changed then.
        """
        services = len(self._services)
        _check("replicas", desired.replicas, services, lowest=0)
        for name in ("vcpu", "memory_gib"):
            if getattr(desired, name) is not None:
                _check(name, getattr(desired, name), services, lowest=1e-9)
        if desired.nodes is not None:
            _check("nodes", desired.nodes, len(self._running.nodes.groups), lowest=0)
        refusals = self._effects.of(ApiRefusal)
        if any(self._refusals.random() < fault.probability for fault in refusals):
            self._running.record("change refused")
            msg = "the API server refuses the change (a fault of the scenario)"
            raise ChangeRefused(msg)
        self._request(desired.vcpu, desired.memory_gib)
        self._waker.ask(desired.replicas)
        if desired.nodes is not None and self._provisioner is not None:
            self._provisioner.resize(desired.nodes)

    def advance(self, seconds: float) -> Interval:
        """Run the half-open step ``[now, now + seconds)``.

        Raises:
            InputError: if that reaches beyond the end of the trace.
        """
        running = self._running
        begin = running.now
        end = begin + seconds
        if not seconds > 0 or end > self._trace.duration_seconds + 1e-6:
            msg = (
                f"{self._trace.name}: cannot advance from {begin:g} s by {seconds:g} s; "
                f"the trace ends at {self._trace.duration_seconds:g} s"
            )
            raise InputError(msg)
        before = self._told_requests
        pods, serving = running.pod_seconds, running.serving_seconds
        extra_pods, extra_serving = running.extra_pod, running.extra_serving_milli
        running.env.run(until=end)
        running.catch_up()
        self._told_requests = running.plane.totals()
        change = self._told_requests.since(before)
        pod_seconds, serving_seconds = running.pod_seconds - pods, running.serving_seconds - serving
        topped_up, self._told_minima = (
            running.topped_up_seconds - self._told_minima,
            running.topped_up_seconds,
        )
        extra = running.extra_pod - extra_pods + topped_up
        extra_cores = (running.extra_serving_milli - extra_serving) / 1000
        return Interval(
            start_seconds=np.array(begin),
            duration_seconds=np.array(float(seconds)),
            **change.services,
            latency_counts=change.service_latency_counts,
            serving_slot_seconds=serving_seconds * self._slots,
            cpu_capacity_seconds=serving_seconds * self._vcpu + extra_cores,
            waiting=running.plane.waiting,
            in_service=running.plane.in_service,
            pod_seconds=pod_seconds,
            pods_started=self._pods_started(),
            cost_usd=pod_seconds * self._usd_per_pod_second + self._usd_per_unit_second @ extra,
            requests=self._requests(change),
            nodes=self._nodes_since(),
        )

    def end_log(self) -> None:
        """Give the log what it has not got yet, requests that are not over among it."""
        if isinstance(self._running.plane, DataPlane):
            self._running.plane.end_log()

    def _set_prices(self, scenario: Scenario) -> None:
        self._slots = np.array([service.slots_per_pod for service in self._services])
        self._vcpu = np.array([service.vcpu_per_pod for service in self._services])
        memory = np.array([service.memory.request_gib for service in self._services])
        per_vcpu = scenario.prices.usd_per_vcpu_hour if scenario.prices else 0.0
        per_gib = scenario.prices.usd_per_gib_hour if scenario.prices else 0.0
        self._usd_per_pod_second = per_vcpu * self._vcpu / SECONDS_PER_HOUR
        if per_gib:
            self._usd_per_pod_second = self._usd_per_pod_second + per_gib * memory / SECONDS_PER_HOUR
        self._usd_per_unit_second = np.array([per_vcpu / 1000, per_gib / MIB_PER_GIB]) / SECONDS_PER_HOUR

    def _request(self, vcpu: Floats | None, memory_gib: Floats | None) -> None:
        """Roll out pods with other requests where they differ."""
        for place in range(len(self._services)):
            now = self._deployments.release_of(place)
            milli = now.vcpu_milli if vcpu is None else round(1000 * float(vcpu[place]))
            mib = now.memory_mib if memory_gib is None else round(MIB_PER_GIB * float(memory_gib[place]))
            if (milli, mib) != (now.vcpu_milli, now.memory_mib):
                self._running.record("requests wanted", service=place, detail=f"{milli} m CPU, {mib} MiB")
                self._deployments.roll_out(
                    Release(place, now.image, max(milli, 1), max(mib, 1), now.error_probability, now.slowness)
                )

    def _requests(self, change: Totals) -> Requests:
        return Requests(
            **change.classes,
            in_flight=self._running.plane.in_flight,
            late=change.late,
            latency_counts=change.class_latency_counts,
        )

    def _pods_started(self) -> Ints:
        """Pods created since the last Interval's end; an action between two belongs to the second."""
        before, now = self._told_pods, self._deployments.pods_started.copy()
        self._told_pods = now
        return now - before

    def _nodes_since(self) -> NodeInterval | None:
        """What became of nodes since the last Interval's end, launches between the two among it."""
        if self._provisioner is None:
            return None
        nodes, now = self._running.nodes, self._running.now
        before = self._told_nodes
        total = NodeInterval(nodes.seconds(now), nodes.cost_usd(now), self._provisioner.launched.copy())
        self._told_nodes = total
        if before is None:
            return total
        return NodeInterval(
            total.node_seconds - before.node_seconds,
            total.cost_usd - before.cost_usd,
            total.launched - before.launched,
        )

    def _scrape(self, first_seconds: float, every_seconds: float) -> Generator[simpy.Event]:
        """Nothing ties scrapes to decisions, so where in their interval they fall is drawn once."""
        env = self._running.env
        yield env.timeout(first_seconds)
        while True:
            self._running.catch_up()
            self._observation.scrape()
            yield env.timeout(every_seconds)


def _is_plain(scenario: Scenario) -> bool:
    """Whether one queue without anything else is all that requests meet."""
    groups = scenario.cluster.groups if scenario.cluster else ()
    return (
        scenario.system.is_one_queue
        and not any(isinstance(fault, OF_ANSWERS) for fault in scenario.faults)
        and not any(group.latency_seconds for group in groups)
    )


def _check(name: str, values: np.ndarray, count: int, *, lowest: float) -> None:
    if values.shape != (count,) or not ((values >= lowest) & np.isfinite(values)).all():
        msg = f"{name} is {values!r}; must be {count} number(s) of at least {lowest:g}"
        raise ValueError(msg)


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
