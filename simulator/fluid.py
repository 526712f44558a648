"""The batch engine: N clusters of one Scenario stepped together in compiled code.

What a cluster does in a step is in ``simulator.flow``; here they are set up and asked. It is held to the request
engine by the conformance tests; where they differ, the request engine is right.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from pydantic import TypeAdapter

from simulator.arrays import Floats, Ints
from simulator.errors import InputError
from simulator.faults import SlowStart
from simulator.flow.episode import Episodes, begin_episodes
from simulator.flow.equipment import equip
from simulator.flow.faults import hazards
from simulator.flow.fleet import (
    SHOWN_DRAINING,
    SHOWN_READY,
    empty_sheet,
    make_fleet,
    site_of,
)
from simulator.flow.flows import empty_flows, empty_traffic
from simulator.flow.graph import flatten
from simulator.flow.lives import begin_fleets, live
from simulator.flow.needs import bursts, is_plain, needs_fleet
from simulator.flow.shifts import make_shifts
from simulator.flow.shown import see_burn, sort_rows
from simulator.flow.stations import metric_units
from simulator.flow.step import advance, advance_graph
from simulator.flow.support import check_supported
from simulator.flow.survival import survival_table
from simulator.flow.tables import (
    Clock,
    Happened,
    Laws,
    Loads,
    Seen,
    State,
    Trusted,
    World,
    empty_happened,
    empty_state,
    empty_world,
)
from simulator.flow.trust import sort_pods
from simulator.flow.waking import make_waking
from simulator.laws.law import ServiceTimeLaw
from simulator.plant import Metric, NodeCounts, Snapshot
from simulator.prices import SECONDS_PER_HOUR
from simulator.processes import DeterministicProcess, ModulatedProcess
from simulator.randomization import Randomization
from simulator.randomness import seed_key
from simulator.scenario import MetricPipeline, Scenario
from simulator.service import Service
from simulator.trace import Trace

_LONGEST_PART_SECONDS = 5.0
_LONGEST_WAKING_PART_SECONDS = 1.0
"""Where services wake from zero."""
_GRID_SECONDS = 60.0
_LAWS = 8
"""How many laws are drawn from where their variability differs."""
_LONGEST_START_DEVIATIONS = 3.72
"""All but a ten-thousandth of the pods have started by then."""
_MOST_LOST = 8
"""Readings in a row that a window may be longer by where some are lost."""
_FEWEST_CLUSTERS = 256
"""A thread of its own is worth it for so many."""
_AS_DRAWN = ("load", "service_time", "slo", "slots", "start_up", "lag", "price", "faults")
"""Factors in the order in which the compiled code has them."""


class FluidClusters:
    """N clusters of a Scenario; axis N is first in all that is asked and shown.

    Each is a function of its own seed, whatever N is. Arrays that are shown are views; the next step changes them.

    Args:
        traces: loads that episodes are taken from; all of one length and bin.
        count: N.
        horizon_seconds: the longest episode.
    """

    def __init__(
        self,
        scenario: Scenario,
        traces: Sequence[Trace],
        count: int,
        *,
        period_seconds: float,
        horizon_seconds: float,
        slo_seconds: float,
        randomization: Randomization,
    ) -> None:
        check_supported(scenario)
        _check_traces(traces, horizon_seconds)
        system, groups = scenario.system, scenario.cluster.groups if scenario.cluster else ()
        self._count, shape = count, (count, len(system.services))
        self._waking = make_waking(system.services, count)
        self._clock = _clock(scenario.metrics, period_seconds, wakes=bool(len(self._waking.asked)))
        self._hazards = hazards(scenario.faults, [service.name for service in system.services], groups)
        self._loads = _loads(scenario, traces)
        self._graph, self._flows = None, None
        if not is_plain(scenario):
            graph = flatten(system)
            stations = equip(system, graph, bursts=bursts(scenario))
            self._graph = graph, stations
            self._flows = empty_flows(count, graph, stations)
        self._laws, scv = _laws(scenario, randomization)
        beginnings = math.floor((traces[0].duration_seconds - horizon_seconds) / _GRID_SECONDS + 1e-9) + 1
        self._episodes = _episodes(scenario, scv, slo_seconds, beginnings, randomization)
        self.world, self.state = _tables(scenario, self._clock, self._episodes, shape, randomization)
        self.happened = empty_happened(shape, len(groups))
        self._site = site_of(scenario) if needs_fleet(scenario) else None
        self.fleet = make_fleet(scenario, self._site, count) if self._site is not None else None
        self._shifts = make_shifts(scenario, count, self._clock.parts)
        self.seen = Seen(*np.full((5, *shape), np.nan))
        services = system.services
        self.request_milli = np.array([round(1000 * service.vcpu_per_pod) for service in services])
        """int64 ``(S,)``; CPU that a pod requests."""
        self.cores_per_slot = np.array([each.vcpu_per_pod / metric_units(each) for each in services])
        """float64 ``(S,)``; cores that a unit of work takes: a busy slot's, where slots work."""
        self._running_seconds = np.array(
            [each.start_up.p50_seconds * (1 - each.start_up.pending_share) for each in services]
        )
        self._seeds = np.zeros(count, np.uint64)
        self._numbers = np.zeros(count, np.int64)
        threads = max(1, min(os.cpu_count() or 1, count // _FEWEST_CLUSTERS))
        self._edges = np.linspace(0, count, threads + 1).astype(int).tolist()
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def seed(self, which: Ints, seeds: Sequence[int]) -> None:
        """Give clusters seeds; their episodes are counted from 0 again.

        Args:
            which: int64 ``(n,)``.
            seeds: one of each.
        """
        self._seeds[which] = [seed_key(np.random.SeedSequence(seed)) for seed in seeds]
        self._numbers[which] = 0

    def begin(self, which: Ints) -> None:
        """Begin another episode of each of these clusters, int64 ``(n,)``."""
        threads = min(len(self._edges) - 1, len(which) // _FEWEST_CLUSTERS)
        if self._pool is None or threads < 2:
            self._begin(which)
        else:
            list(self._pool.map(self._begin, np.array_split(which, threads)))
        self._numbers[which] += 1
        if self.fleet is not None:
            where = self._site, self._waking, self.world, self.state, self.fleet
            begin_fleets(self._hazards, *where, self.happened, which)
        if self._flows is not None:
            self._flows.forget(which)

    def factors(self, which: Ints) -> tuple[Floats, Floats]:
        """By what the work of calls and the slots of pods differ from the Scenario's: float64 ``(n, S)`` each."""
        world, episodes = self.world, self._episodes
        return world.mean_seconds[which] / episodes.mean_seconds, world.slots[which] / episodes.slots

    @property
    def period_seconds(self) -> float:
        """Of a control step."""
        return self._clock.period_seconds

    @property
    def now_seconds(self) -> Floats:
        """float64 ``(N,)``; since the episodes' beginnings."""
        return np.asarray(self.state.step * self._clock.period_seconds, np.float64)

    @property
    def waiting(self) -> Ints:
        """int64 ``(N, S)``; calls that wait."""
        return np.rint(self.state.backlog / self.world.mean_seconds).astype(np.int64)

    @property
    def expired(self) -> Floats:
        """float64 ``(N, S)``; calls that were thrown away in the last step, for their callers had given up."""
        return np.zeros(self.state.backlog.shape) if self._flows is None else self._flows.expired

    def snapshot(self) -> Snapshot:
        """What is shown now; axes N and S."""
        seen, state, fleet = self.seen, self.state, self.fleet
        return Snapshot(
            time_seconds=self.now_seconds,
            wanted=state.wanted,
            starting=state.starting,
            ready=state.ready if fleet is None else fleet.service[:, :, SHOWN_READY],
            draining=np.zeros_like(state.ready) if fleet is None else fleet.service[:, :, SHOWN_DRAINING],
            cpu=Metric(seen.cpu, seen.age_seconds),
            rate=Metric(seen.rate, seen.age_seconds),
            latency_p95=Metric(seen.latency_p95, seen.age_seconds),
            queue=Metric(seen.queue, seen.age_seconds),
            nodes=self._nodes(),
        )

    def _nodes(self) -> NodeCounts | None:
        if self.fleet is None or not self.fleet.node_counts.shape[2]:
            return None
        return NodeCounts(*self.fleet.node_counts.swapaxes(0, 1))

    def sort_pods(self) -> Trusted:
        """The pods as the HPA trusts them now."""
        trusted = Trusted(*np.zeros((4, *self.state.wanted.shape), np.int64))
        milli, what = self.request_milli.astype(np.float64), (self.world, self.state)
        if self.fleet is None:
            sort_pods(0, self._count, self._clock, self._running_seconds, milli, *what, trusted)
        else:
            sort_rows(0, self._count, self._site, self._clock, milli, *what, self.fleet, trusted)
        return trusted

    def apply(self, replicas: Ints) -> None:
        """Want so many, int64 ``(N, S)``."""
        self.state.wanted[:] = replicas
        if len(self._waking.asked):
            self._waking.asked[:] = replicas

    def advance(self) -> Happened:
        """Let a control step happen."""
        if self._pool is None:
            self._advance(0, self._count)
        else:
            list(self._pool.map(self._advance, self._edges[:-1], self._edges[1:]))
        return self.happened

    def close(self) -> None:
        """Give the threads back."""
        if self._pool is not None:
            self._pool.shutdown()

    def _begin(self, which: Ints) -> None:
        begin_episodes(
            self._clock,
            self._loads,
            self._hazards,
            self._laws,
            self._episodes,
            self.world,
            self.state,
            self.seen,
            which,
            self._seeds,
            self._numbers,
        )

    def _advance(self, begin: int, end: int) -> None:
        clock, site = self._clock, self._site
        parts = 1 if len(self._waking.asked) else clock.parts
        for first in range(0, clock.parts, parts):
            self._advance_parts(begin, end, (first, first + parts))
        if site is not None and site.burn.any():
            see_burn(begin, end, site, clock, self.world, self.state, self.fleet, self.seen)

    def _advance_parts(self, begin: int, end: int, parts: tuple[int, int]) -> None:
        which, hazards, world, state = (begin, end, parts, self._clock), self._hazards, self.world, self.state
        site, fleet = self._site, self.fleet
        if site is not None and fleet is not None:
            where = site, self._waking, world, state, fleet, empty_sheet(site, fleet)
            live(*which, hazards, *where, self._shifts, self.happened)
        what = world, state, self._shifts
        if self._graph is None or self._flows is None:
            advance(*which, self._loads, hazards, self._laws, *what, self.happened, self.seen)
        else:
            flows = self._flows, empty_traffic(*self._graph)
            advance_graph(*which, self._loads, hazards, *self._graph, *what, *flows, self.happened, self.seen)


def _clock(metrics: MetricPipeline, period_seconds: float, *, wakes: bool) -> Clock:
    longest = _LONGEST_WAKING_PART_SECONDS if wakes else _LONGEST_PART_SECONDS
    return Clock(
        period_seconds,
        math.ceil(period_seconds / longest - 1e-9),
        metrics.scrape_seconds,
        round(metrics.window_seconds / metrics.scrape_seconds),
        metrics.noise,
        metrics.gap_probability,
        metrics.stale_seconds,
        wakes,
    )


def _tables(
    scenario: Scenario, clock: Clock, episodes: Episodes, shape: tuple[int, int], randomization: Randomization
) -> tuple[World, State]:
    """Tables for the longest start-ups, lags and windows that there may be."""
    metrics, parts, period = scenario.metrics, clock.parts, clock.period_seconds
    median, deviation = (episodes.start_up * (randomization.start_up[1], 1.0)).T
    longest = (median * np.exp(_LONGEST_START_DEVIATIONS * deviation)).max()
    slowest = math.prod(fault.factor for fault in scenario.faults if isinstance(fault, SlowStart))
    steps = math.ceil(longest / period)
    points = math.ceil(metrics.window_seconds * parts / period) + 1
    seen_after = metrics.lag_seconds * randomization.lag[1] + period
    kept = clock.window + math.ceil(seen_after / metrics.scrape_seconds) + 2
    if metrics.gap_probability or scenario.faults:
        kept += math.ceil(metrics.stale_seconds / metrics.scrape_seconds) + _MOST_LOST
        seen_after += metrics.stale_seconds + _MOST_LOST * metrics.scrape_seconds
    seen_after += metrics.scrape_seconds + metrics.window_seconds
    remembered = math.ceil(seen_after * parts / period) + 2
    ages = math.ceil(slowest * steps) + 1
    state = empty_state(shape, parts, ages, points, kept, remembered, len(scenario.faults))
    return empty_world(shape, (steps + 1) * parts), state


def _check_traces(traces: Sequence[Trace], horizon_seconds: float) -> None:
    for trace in traces:
        if trace.duration_seconds < horizon_seconds * (1 - 1e-9):
            msg = (
                f"{trace.name}: the trace has {trace.duration_seconds:g} s; "
                f"an episode needs {horizon_seconds:g} s"
            )
            raise InputError(msg)
        if trace.times_seconds is not None:
            msg = f"{trace.name}: the batch engine takes counts, not a request log's exact times"
            raise InputError(msg)


def quantile(law: ServiceTimeLaw, share: float) -> float:
    """The service time that ``share`` are within, to a billionth, seconds."""
    low, high = 0.0, law.mean_seconds
    while law.survival(np.array(high)) > 1 - share:
        high *= 2
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if law.survival(np.array(middle)) > 1 - share else (low, middle)
    return high


def _loads(scenario: Scenario, traces: Sequence[Trace]) -> Loads:
    arrivals = scenario.workload.arrivals
    dispersion = 0.0 if isinstance(arrivals, DeterministicProcess) else 1.0
    levels = sojourns = stationary = np.empty(0)
    jumps = np.empty((0, 0))
    if isinstance(arrivals, ModulatedProcess):
        levels, sojourns = arrivals.factors(), np.array(arrivals.mean_sojourn_seconds)
        stationary, jumps = np.cumsum(arrivals.stationary()), np.cumsum(arrivals.jumps(), axis=1)
    counts = np.array([trace.requests for trace in traces])
    edges = np.concatenate([np.zeros((len(traces), 1)), np.cumsum(counts, axis=1)], axis=1)
    return Loads(edges, traces[0].bin_seconds, dispersion, levels, sojourns, stationary, jumps)


def _varied(law: ServiceTimeLaw, factors: tuple[float, float]) -> list[ServiceTimeLaw]:
    """The law with other squared coefficients of variation, evenly in their logarithms."""
    if "scv" not in type(law).model_fields or factors == (1.0, 1.0):
        return [law]
    adapter: TypeAdapter[ServiceTimeLaw] = TypeAdapter(ServiceTimeLaw)
    fields, lowest = law.model_dump(), 1.0 if law.law == "hyperexponential" else 0.0
    return [
        adapter.validate_python(fields | {"scv": min(max(law.scv * factor, lowest), 100.0)})
        for factor in np.geomspace(*factors, _LAWS).tolist()
    ]


def _episodes(
    scenario: Scenario,
    scv: Floats,
    slo_seconds: float,
    beginnings: int,
    randomization: Randomization,
) -> Episodes:
    system = scenario.system
    services = system.services
    means, first_scrape = system.work_seconds(), scenario.metrics.first_scrape_seconds
    return Episodes(
        factors=np.log([getattr(randomization, name) for name in _AS_DRAWN]),
        grid_seconds=_GRID_SECONDS,
        beginnings=beginnings,
        mean_seconds=np.array(means),
        scv=scv,
        slots=np.array([metric_units(service) for service in services]),
        whole_slots=is_plain(scenario),
        staff_seconds=np.array(system.load_seconds()),
        staff_slots=np.array([float(service.slots_per_pod) for service in services]),
        usd_per_second=np.array([_usd_per_second(scenario, service) for service in services]),
        drain_seconds=np.array(
            [min(mean, service.drain_grace_seconds) for mean, service in zip(means, services, strict=True)]
        ),
        start_up=np.array([(each.start_up.p50_seconds, each.start_up.sigma) for each in services]),
        fewest=np.array([service.min_replicas for service in services]),
        most=np.array([service.max_replicas for service in services]),
        slo_seconds=slo_seconds,
        lag_seconds=scenario.metrics.lag_seconds,
        first_scrape_seconds=-1.0 if first_scrape is None else first_scrape,
        staffing_quality=scenario.staffing_quality,
    )


def _usd_per_second(scenario: Scenario, service: Service) -> float:
    """What a pod costs by itself."""
    prices = scenario.prices
    if prices is None:
        return 0.0
    memory = prices.usd_per_gib_hour * service.memory.request_gib
    return (prices.usd_per_vcpu_hour * service.vcpu_per_pod + memory) / SECONDS_PER_HOUR


def _laws(scenario: Scenario, randomization: Randomization) -> tuple[Laws, Floats]:
    """The laws that clusters may have, and how variable each is: its scv; of several services a factor on theirs."""
    if not is_plain(scenario):
        factors = np.geomspace(*randomization.scv, 1 if randomization.scv == (1.0, 1.0) else _LAWS)
        return Laws(np.zeros((len(factors), 1)), np.zeros(len(factors))), factors
    laws = _varied(scenario.system.services[0].all_operations[0].service_time, randomization.scv)
    tables = np.array([survival_table(law) for law in laws])
    p95 = np.array([quantile(law, 0.95) / law.mean_seconds for law in laws])
    return Laws(tables, p95), np.array([law.scv for law in laws])
