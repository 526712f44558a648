"""Services that call each other on the batch engine: against formulas, sums over the graph and the request engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from batches import clusters
from scipy import stats

from envs.task import Task, load_task
from experiments.conformance import World, compare, made_load
from experiments.sweep import Sweep
from simulator import theory
from simulator.application import load_application
from simulator.arrays import Floats
from simulator.flow.equipment import equip
from simulator.flow.graph import flatten
from simulator.flow.stations import LOADS, PODS, learn_station, work_cumulants
from simulator.flow.tails import GAMMA_P95, SURVIVAL, heaviness, time_exceeds, time_p95
from simulator.laws.exponential import ExponentialLaw
from simulator.laws.gamma import GammaLaw
from simulator.laws.lognormal import LognormalLaw
from simulator.plant import Desired
from simulator.service import Service
from simulator.trace import Trace

TARGETS = ("hpa:target=0.6", "hpa:target=0.8")


@numba.njit
def exceeds(first: float, second: float, third: float, heavy: float, seconds: float) -> float:
    return time_exceeds(SURVIVAL, first, second, third, heavy, seconds)  # type: ignore[no-any-return]


@numba.njit
def p95(first: float, second: float, third: float) -> float:
    return time_p95(GAMMA_P95, first, second, third)  # type: ignore[no-any-return]


@pytest.mark.parametrize("skew", [0.1, 1.0, 2.3, 6.0, 11.9])
def test_tails_are_those_of_pearson_s_third_type(skew: float) -> None:
    mean, deviation = 0.2, 0.05
    third = skew * deviation**3
    for seconds in np.linspace(0.05, 0.8, 60):
        truth = stats.pearson3.sf(seconds, skew, mean, deviation)
        assert exceeds(mean, deviation**2, third, 0.0, seconds) == pytest.approx(truth, abs=5e-3)
    truth = stats.pearson3.ppf(0.95, skew, mean, deviation)
    assert p95(mean, deviation**2, third) == pytest.approx(truth, rel=2e-3)


def test_a_time_that_does_not_vary_is_exceeded_or_not() -> None:
    assert exceeds(0.2, 0.0, 0.0, 0.0, 0.1) == 1.0
    assert exceeds(0.2, 0.0, 0.0, 0.0, 0.3) == 0.0


@pytest.mark.parametrize("scv", [0.1, 1.0, 2.0])
def test_the_tail_of_a_lognormal_time_is_its_own(scv: float) -> None:
    law = LognormalLaw(mean_seconds=0.2, scv=scv)
    variance, skew = scv * 0.2**2, math.sqrt(scv) * (scv + 3)
    third = skew * variance**1.5
    assert heaviness(0.2, variance, third, law.survival) == pytest.approx(1.0, abs=1e-6)
    for deviations in (2.0, 4.0, 8.0):
        seconds = 0.2 + deviations * math.sqrt(variance)
        truth = float(law.survival(np.array(seconds)))
        assert exceeds(0.2, variance, third, third, seconds) == pytest.approx(truth, rel=0.03, abs=1e-6)


@pytest.mark.parametrize("law", [GammaLaw(mean_seconds=0.2, scv=2.0), ExponentialLaw(mean_seconds=0.2)])
def test_the_tail_of_a_gamma_time_is_not_heavy(law: GammaLaw | ExponentialLaw) -> None:
    assert heaviness(*work_cumulants(law), law.survival) == pytest.approx(0.0, abs=0.05)


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
    station = learn_station(service, ((0, 0, 1.0),))
    extra = station.extra[0, 0, station.loads.tolist().index(load), 0]
    assert mean + extra == pytest.approx(theory.mgc_ps_mean_response_seconds(load / mean, mean, 1), rel=0.1)


def test_between_what_was_measured_tables_go_with_one_over_the_pods_and_over_what_the_load_leaves_free() -> (
    None
):
    application = load_application("shop")
    stations = equip(application, flatten(application))
    extra, share = stations.extra, (1 - 1 / 2) / (1 - 1 / 4)
    assert extra.shape[1] == PODS[-1] + 1
    np.testing.assert_array_equal(extra[:, 0], extra[:, 1])
    np.testing.assert_allclose(extra[:, 2], extra[:, 1] + share * (extra[:, 4] - extra[:, 1]), rtol=1e-12)
    np.testing.assert_allclose(stations.stress, 1 / (1 - np.array(LOADS)), rtol=1e-12)
    np.testing.assert_allclose(stations.per_stress * np.diff(stations.stress), 1.0, rtol=1e-12)
    for place, column in enumerate(stations.columns.tolist()):
        middle = (place + 0.5) / len(stations.columns)
        assert column in (0, len(LOADS) - 2) or LOADS[column] < middle < LOADS[column + 1]
        assert middle > LOADS[column] or column == 0


@pytest.mark.parametrize("name", ["shop", "boutique"])
def test_the_flat_graph_has_the_visits_of_the_application(name: str) -> None:
    application = load_application(name)
    graph = flatten(application)
    stations = equip(application, graph)
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


def tier(name: str, mean_seconds: float, **calls: Any) -> dict[str, Any]:
    """A service of 8 slots a pod; with ``to`` it calls another."""
    operation: dict[str, Any] = {"service_time": {"law": "exponential", "mean_seconds": mean_seconds}}
    return {
        "name": name,
        "slots_per_pod": 8,
        "vcpu_per_pod": 1,
        "operations": [operation | ({"steps": [[calls]]} if calls else {})],
        "start_up": {"p50_seconds": 10, "p95_seconds": 15},
        "min_replicas": 0,
        "max_replicas": 50,
    }


def both_engines(
    services: list[dict[str, Any]], rates: list[float], pods: list[int], faults: Sequence[dict[str, Any]] = ()
) -> tuple[Floats, Floats]:
    """Share of late requests, then calls of each service a request, on the batch and on the request engine."""
    content = load_task("shop3").model_dump(mode="json", exclude_none=True)
    classes = [{"entry": {"to": services[0]["name"]}}]
    content["scenario"]["application"] = {"services": services, "classes": classes}
    content["scenario"]["faults"] = list(faults)
    content["objective"]["slo_seconds"] = 0.8
    task = Task.model_validate(content)
    trace = Trace(60 * np.array(rates), 60.0, name="made")
    steps = round(trace.duration_seconds / task.period_seconds)
    made, replicas = clusters(task, trace, 4), np.array(pods)
    plant = task.build(0, trace)
    sums = np.zeros((2, 2 + len(pods)))
    for _ in range(steps):
        made.apply(np.tile(replicas, (4, 1)))
        happened = made.advance()
        sums[0] += [happened.late.sum(), happened.requests.sum(), *happened.offered.sum(axis=0)]
        plant.apply(Desired(replicas))
        interval = plant.advance(task.period_seconds)
        sums[1] += [interval.requests.late.sum(), interval.requests.offered.sum(), *interval.offered]
    shares = sums / sums[:, 1:2]
    return np.delete(shares[0], 1), np.delete(shares[1], 1)


@pytest.mark.parametrize(
    ("calls", "faults"),
    [
        ({"timeout_seconds": 0.2, "optional": True}, [("back", 3.0)]),
        ({"timeout_seconds": 0.2}, [("back", 3.0)]),
        ({}, [("front", 0.5)]),
    ],
    ids=[
        "an answer that is not waited for",
        "an answer that is needed",
        "an answer that is late on its own way",
    ],
)
def test_slots_are_held_as_long_as_callers_wait(
    calls: dict[str, Any], faults: list[tuple[str, float]]
) -> None:
    late = [
        {
            "kind": "latency",
            "service": name,
            "at_seconds": 300,
            "duration_seconds": 900,
            "delay_seconds": delay,
        }
        for name, delay in faults
    ]
    services = [tier("front", 0.02, to="back", **calls), tier("back", 0.01)]
    found, truth = both_engines(services, [60.0] * 20, [5, 3], late)
    np.testing.assert_allclose(found, truth, atol=0.02)


def test_a_callee_without_pods_makes_all_late() -> None:
    services = [tier("front", 0.02, to="back"), tier("back", 0.01)]
    found, truth = both_engines(services, [20.0] * 20, [5, 0])
    assert found[0] > 0.9 * min(truth[0], 1.0) > 0.8


def test_what_waited_calls_on_when_it_is_worked_off() -> None:
    """After a burst nothing comes any more, and each of its requests still makes its call."""
    services = [tier("front", 0.1, to="back"), tier("back", 0.01)]
    found, truth = both_engines(services, [400.0] * 2 + [0.1] * 15, [3, 3])
    np.testing.assert_allclose(found, truth, rtol=0.03)
    assert found[2] == pytest.approx(1.0, rel=0.01)
