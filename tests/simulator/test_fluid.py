"""The batch engine against formulas, conservation laws and the request engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from batches import clusters
from refused import WHY, refused_task

from envs.task import Task, load_task
from experiments.conformance import MADE_LOADS, SMALL, compare, covering_grid, made_load
from experiments.sweep import Sweep
from experiments.verdict import judge
from simulator import theory
from simulator.errors import InputError
from simulator.flow.support import check_supported
from simulator.flow.survival import exceeds, survival_table
from simulator.fluid import quantile
from simulator.fluid_plant import FluidPlant
from simulator.laws.gamma import GammaLaw
from simulator.laws.lognormal import LognormalLaw
from simulator.laws.pareto import ParetoLaw
from simulator.plant import Desired
from simulator.trace import Trace

WEB = load_task("web")


def changed(task: Task, **service: object) -> Task:
    content = task.model_dump(mode="json", exclude_none=True)
    content["scenario"]["service"] |= service
    return Task.model_validate(content)


@pytest.mark.parametrize("slots", [1, 4, 16])
@pytest.mark.parametrize(("load", "within"), [(0.8, 0.35), (0.9, 0.12), (0.95, 0.06)])
def test_steady_waiting_is_that_of_erlang_c(slots: int, load: float, within: float) -> None:
    """Mean number waiting of M/M/c over ten hours; the heavier the load the nearer, as in heavy traffic."""
    mean = 0.5
    task = changed(
        WEB,
        slots_per_pod=slots,
        service_time={"law": "exponential", "mean_seconds": mean},
        min_replicas=1,
        max_replicas=1,
    )
    rate = load * slots / mean
    trace = Trace(np.full(600, 60 * rate), 60.0, name="steady")
    found = clusters(task, trace, 64)
    waiting = 0.0
    steps = round(trace.duration_seconds / task.period_seconds)
    for step in range(steps):
        happened = found.advance()
        if step >= steps // 10:
            waiting += float(happened.waiting_seconds.mean())
    seconds = (steps - steps // 10) * task.period_seconds
    expected = rate * theory.erlang_c(slots, rate * mean) * mean / (slots * (1 - load))
    assert waiting / seconds == pytest.approx(expected, rel=within)


def test_what_comes_is_served_or_waits_and_no_slot_works_twice() -> None:
    trace = made_load("jumps", 200.0, 2)
    plant = FluidPlant(clusters(changed(WEB, max_replicas=12), trace, 32))
    offered = served = 0
    for _ in range(round(trace.duration_seconds / WEB.period_seconds)):
        plant.apply(Desired(np.full((32, 1), 12)))
        interval = plant.advance(WEB.period_seconds)
        offered, served = offered + interval.offered, served + interval.served
        np.testing.assert_array_equal(offered, served + interval.waiting)
        assert (interval.busy_slot_seconds <= interval.serving_slot_seconds * (1 + 1e-12)).all()
        assert (interval.cost_usd >= 0).all()
        assert (interval.requests.late <= interval.offered[..., np.newaxis] + 1e-9).all()
    expected = trace.requests.sum()
    assert abs(offered.mean() - expected) < 4 * np.sqrt(expected / 32)


def test_pods_start_by_the_start_up_law() -> None:
    trace = Trace(np.full(60, 6000.0), 60.0, name="steady")
    found = clusters(changed(WEB, min_replicas=2, max_replicas=400), trace, 8)
    before = found.state.ready.copy()
    found.apply(before + 300)
    law = WEB.scenario.service.start_up  # type: ignore[union-attr]
    for step in range(1, 5):
        found.advance()
        assert (found.state.ready + found.state.starting == before + 300).all()
        from scipy.stats import lognorm

        # a part of 5 s is taken as its middle
        share = lognorm.cdf(15.0 * step - 2.5, law.sigma, scale=law.p50_seconds)
        np.testing.assert_allclose((found.state.ready - before) / 300, share, atol=0.01)


def test_a_removed_pod_that_starts_goes_first() -> None:
    trace = Trace(np.full(60, 6000.0), 60.0, name="steady")
    found = clusters(changed(WEB, min_replicas=2, max_replicas=400), trace, 4)
    ready = found.state.ready.copy()
    found.apply(ready + 20)
    found.advance()
    now_ready = found.state.ready.copy()
    found.apply(ready + 5)
    found.advance()
    assert (found.state.ready >= np.minimum(now_ready, ready + 5)).all()
    assert (found.state.ready + found.state.starting == ready + 5).all()


@pytest.mark.parametrize(
    "law",
    [
        LognormalLaw(mean_seconds=0.05, scv=1.0),
        GammaLaw(mean_seconds=2.0, scv=0.3),
        ParetoLaw(shape=1.5, lowest_seconds=0.01, highest_seconds=100.0),
    ],
)
def test_the_table_of_a_law_is_its_survival(law: LognormalLaw | GammaLaw | ParetoLaw) -> None:
    table = survival_table(law)
    for means in np.geomspace(0.01, 1000, 200):
        truth = float(law.survival(np.array(means * law.mean_seconds)))
        assert exceeds(table, means) == pytest.approx(truth, abs=2e-3)
    assert exceeds(table, 0.0) == 1.0
    assert float(law.survival(np.array(quantile(law, 0.95)))) == pytest.approx(0.05, rel=1e-6)


def test_what_is_not_modelled_is_named() -> None:
    with pytest.raises(InputError, match=WHY):
        check_supported(refused_task().scenario)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("memory that may run out of service web", {"memory": {"gib_per_request": 0.2}}),
    ],
)
def test_what_a_service_does_that_is_not_modelled_is_named(what: str, change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"does not model: {what}"):
        check_supported(changed(WEB, **change).scenario)


def test_clients_circuit_breakers_are_not_modelled() -> None:
    content = load_task("shop3").model_dump(mode="json", exclude_none=True)
    content["scenario"]["application"]["classes"][0]["entry"]["breaker"] = {}
    with pytest.raises(InputError, match="does not model: circuit breakers of clients"):
        check_supported(Task.model_validate(content).scenario)


def test_busy_time_is_never_negative_and_its_mean_is_that_of_the_load() -> None:
    task = changed(WEB, service_time={"law": "lognormal", "mean_seconds": 0.5, "scv": 20.0})
    made = clusters(task, Trace(np.full(600, 60.0), 60.0, name="thin"), 30)
    busy = np.array([made.advance().busy_seconds.copy() for _ in range(2000)])
    assert busy.min() >= 0.0
    assert busy.mean() == pytest.approx(0.5 * made.period_seconds, rel=0.05)


def test_a_request_log_s_times_and_short_traces_are_refused() -> None:
    log = Trace(np.full(60, 60.0), 60.0, name="log", times_seconds=np.arange(3600.0))
    with pytest.raises(
        InputError, match="log: the batch engine takes counts, not a request log's exact times"
    ):
        clusters(WEB, log, 1)


def test_other_wishes_and_steps_are_refused() -> None:
    trace = Trace(np.full(60, 6000.0), 60.0, name="steady")
    plant = FluidPlant(clusters(WEB, trace, 2))
    with pytest.raises(InputError, match="takes replicas only; vcpu is asked for"):
        plant.apply(Desired(np.full((2, 1), 3), vcpu=np.full((2, 1), 1.0)))
    with pytest.raises(InputError, match="goes on by 15 s, not by 10 s"):
        plant.advance(10.0)


def test_it_conforms_to_the_request_engine(tmp_path: Path) -> None:
    loads = {name: made_load(name, 200.0, 2) for name in MADE_LOADS}
    with Sweep(tmp_path) as sweep:
        cells = compare(WEB, SMALL, loads, sweep, policies=("hpa:target=0.6", "hpa:target=0.8"))
    verdict = judge(cells, WEB.objective.violation_budget)
    assert verdict.share_within >= 0.9, verdict.misses
    assert verdict.worst_error <= 0.03, verdict.misses


@pytest.mark.slow
def test_it_conforms_on_a_grid_in_which_any_three_settings_meet(tmp_path: Path) -> None:
    loads = {name: made_load(name, 200.0, 2) for name in MADE_LOADS}
    with Sweep(tmp_path) as sweep:
        cells = compare(WEB, covering_grid(), loads, sweep)
    verdict = judge(cells, WEB.objective.violation_budget)
    assert verdict.share_within >= 0.9, verdict.mechanisms
    assert verdict.rank_correlation >= 0.9, verdict.rank_correlations
    assert verdict.worst_error <= 0.03, verdict.misses
