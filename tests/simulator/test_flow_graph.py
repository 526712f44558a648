"""Services that call each other on the batch engine: against formulas, sums over the graph and the request engine."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
import pytest
from scipy import stats

from envs.task import Task, load_task
from experiments.conformance import World, compare, made_load
from experiments.sweep import Sweep
from simulator import theory
from simulator.application import load_application
from simulator.flow.graph import equip, flatten
from simulator.flow.stations import learn_station
from simulator.flow.tails import PEARSON_P95, PEARSON_SURVIVAL, time_exceeds, time_p95
from simulator.fluid import FluidClusters
from simulator.randomization import Randomization
from simulator.service import Service
from simulator.trace import Trace

TARGETS = ("hpa:target=0.6", "hpa:target=0.8")


@numba.njit
def exceeds(first: float, second: float, third: float, seconds: float) -> float:
    return time_exceeds(PEARSON_SURVIVAL, first, second, third, seconds)  # type: ignore[no-any-return]


@numba.njit
def p95(first: float, second: float, third: float) -> float:
    return time_p95(PEARSON_P95, first, second, third)  # type: ignore[no-any-return]


@pytest.mark.parametrize("skew", [0.1, 1.0, 2.3, 6.0, 11.9])
def test_tails_are_those_of_pearson_s_third_type(skew: float) -> None:
    mean, deviation = 0.2, 0.05
    third = skew * deviation**3
    for seconds in np.linspace(0.05, 0.8, 60):
        truth = stats.pearson3.sf(seconds, skew, mean, deviation)
        assert exceeds(mean, deviation**2, third, seconds) == pytest.approx(truth, abs=5e-3)
    truth = stats.pearson3.ppf(0.95, skew, mean, deviation)
    assert p95(mean, deviation**2, third) == pytest.approx(truth, rel=2e-3)


def test_a_time_that_does_not_vary_is_exceeded_or_not() -> None:
    assert exceeds(0.2, 0.0, 0.0, 0.1) == 1.0
    assert exceeds(0.2, 0.0, 0.0, 0.3) == 0.0


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8])
def test_a_shared_processor_is_that_of_theory(load: float) -> None:
    """M/M/1 with processor sharing: a response of s / (1 - rho) on average."""
    mean = 0.05
    service = Service.model_validate(
        {
            "name": "shared",
            "slots_per_pod": 1000,
            "vcpu_per_pod": 1,
            "discipline": "processor_sharing",
            "service_time": {"law": "exponential", "mean_seconds": mean},
            "start_up": {"p50_seconds": 1, "p95_seconds": 2},
            "min_replicas": 1,
            "max_replicas": 1,
        }
    )
    station = learn_station(service, (1.0,))
    extra = station.extra[0, station.loads.tolist().index(load), 0]
    assert mean + extra == pytest.approx(theory.mgc_ps_mean_response_seconds(load / mean, mean, 1), rel=0.1)


@pytest.mark.parametrize("name", ["shop", "boutique"])
def test_the_flat_graph_has_the_visits_of_the_application(name: str) -> None:
    application = load_application(name)
    graph, stations = flatten(application), equip(application)
    calls = np.concatenate([graph.share, np.zeros(len(graph.service) - len(graph.share))])
    for operation in range(len(calls)):
        for edge in range(graph.first[operation], graph.first[operation + 1]):
            assert graph.callee[edge] > operation
            calls[graph.callee[edge]] += calls[operation] * graph.times[edge] * graph.probability[edge]
    work = np.zeros(len(application.services))
    np.add.at(work, graph.service[len(graph.share) :], (calls * graph.work[:, 0])[len(graph.share) :])
    visits = np.zeros(len(application.services))
    np.add.at(visits, graph.service[len(graph.share) :], calls[len(graph.share) :])
    np.testing.assert_allclose(work / visits, application.work_seconds(), rtol=1e-12)
    np.testing.assert_allclose(work / visits, stations.mean_seconds, rtol=1e-12)
    places = {place: calls for place, calls in application.visits.items() if calls > 0}
    assert sum(places.values()) == pytest.approx(visits.sum(), rel=1e-12)


def clusters(task: Task, trace: Trace, count: int) -> FluidClusters:
    made = FluidClusters(
        task.scenario,
        [trace],
        count,
        period_seconds=task.period_seconds,
        horizon_seconds=trace.duration_seconds,
        slo_seconds=task.objective.slo_seconds,
        randomization=Randomization.none(),
    )
    everyone = np.arange(count)
    made.seed(everyone, everyone.tolist())
    made.begin(everyone)
    return made


def test_calls_are_conserved_in_overload() -> None:
    """Offered = worked off + turned away + waiting, of the work of a service nobody can do."""
    task = load_task("shop3")
    trace = Trace(np.full(40, 60 * 3000.0), 60.0, name="too much")
    made = clusters(task, trace, 3)
    made.apply(np.full((3, 3), 2))
    offered, busy, dropped = np.zeros((3, 3)), np.zeros((3, 3)), np.zeros((3, 3))
    for _ in range(100):
        happened = made.advance()
        offered += happened.offered
        busy += happened.busy_seconds
        dropped += happened.dropped
    assert (dropped[:, 0] > 0.3 * offered[:, 0]).all()
    served = busy / made.world.mean_seconds
    np.testing.assert_allclose(served + dropped + made.waiting, offered, rtol=0.03)
    assert (busy <= happened.capacity_seconds * 100 * (1 + 1e-9)).all()
    assert (happened.late / happened.requests > 0.99).all()


@pytest.mark.parametrize(
    ("name", "load"),
    [
        pytest.param("shop3", "sine", marks=pytest.mark.slow),
        ("shop3", "jumps"),
        pytest.param("boutique11", "sine", marks=pytest.mark.slow),
        pytest.param("boutique11", "jumps", marks=pytest.mark.slow),
    ],
)
def test_applications_conform_to_the_request_engine(name: str, load: str, tmp_path: Path) -> None:
    task = load_task(name)
    world = World(load, law=None, slots=None)
    loads = {load: made_load(load, task.scenario.workload.mean_rps, 2)}
    with Sweep(tmp_path) as sweep:
        cells = compare(task, (world,), loads, sweep, policies=TARGETS)
    assert [cell for cell in cells if cell.excess > 1] == []
