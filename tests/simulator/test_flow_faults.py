"""Faults, lost metrics and bursts on the batch engine, against the request engine and what they are by definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batches import clusters as batch

from envs.task import Task, load_task
from experiments.conformance import made_load, on_batch_engine
from experiments.run import Run
from experiments.sweep import Sweep
from simulator.errors import InputError
from simulator.faults import OF_NODES, AnyFault
from simulator.flow.draws import gamma_factor
from simulator.flow.support import check_supported
from simulator.fluid import FluidClusters
from simulator.processes import DeterministicProcess, ModulatedProcess
from simulator.trace import Trace

HOURS, SEEDS = 2, 3
SEVERAL: dict[str, list[dict[str, Any]]] = {
    "pods are killed": [{"kind": "pod_kill", "at_seconds": 1000.0 * n, "count": 4} for n in range(1, 6)],
    "CPU is short": [{"kind": "cpu_starvation", "at_seconds": 2000, "duration_seconds": 300}],
    "answers are late": [{"kind": "latency", "at_seconds": 2000, "delay_seconds": 0.15}],
    "starts are slow": [{"kind": "slow_start", "at_seconds": 1000, "duration_seconds": 3000}],
    "a release fails": [
        {"kind": "bad_release", "at_seconds": 2000, "duration_seconds": 600, "error_probability": 0.05}
    ],
    "a release is slow": [
        {
            "kind": "bad_release",
            "at_seconds": 1500,
            "duration_seconds": 1500,
            "error_probability": 0,
            "slowness": 1.5,
        }
    ],
    "no metrics": [
        {"kind": "metric_outage", "at_seconds": 1500},
        {"kind": "metric_outage", "at_seconds": 4000},
    ],
    "old metrics": [{"kind": "metric_staleness", "at_seconds": 1500}],
    "refusals": [{"kind": "api_refusal", "at_seconds": 1000, "duration_seconds": 3000, "probability": 0.8}],
}


def web(faults: list[dict[str, Any]], **metrics: float) -> Task:
    content = load_task("web").model_dump(mode="json", exclude_none=True)
    content["scenario"]["faults"] = faults
    content["scenario"]["metrics"] |= metrics
    return Task.model_validate(content)


def on_nodes(kind: str) -> Task:
    """A fault of a kind on spot-fleet."""
    place: dict[str, dict[str, str]] = {
        "zone_loss": {"region": "region", "zone": "a"},
        "region_loss": {"region": "region"},
        "stock_out": {"group": "spot-a"},
    }
    content = load_task("spot-fleet").model_dump(mode="json", exclude_none=True)
    content["scenario"]["faults"] = [{"kind": kind, "at_seconds": 5, **place.get(kind, {})}]
    return Task.model_validate(content)


def clusters(task: Task, count: int, trace: Trace | None = None) -> FluidClusters:
    return batch(task, trace or Trace(np.full(120, 60 * 200.0), 60.0, name="steady"), count)


@pytest.mark.parametrize("name", SEVERAL)
def test_faults_do_what_they_do_on_the_request_engine(name: str, tmp_path: Path) -> None:
    task, policy = web(SEVERAL[name]), "hpa:target=0.7"
    trace = made_load("sine", 200.0, HOURS)
    runs = [Run(task, trace, None, policy, policy, seed) for seed in range(SEEDS)]
    with Sweep(tmp_path) as sweep:
        rows = [outcome.row for outcome in sweep.outcomes(runs, None)]
    violations, usd, utilization = on_batch_engine(task, trace, policy)
    truth = {
        name: np.mean([row[name] for row in rows])
        for name in ("slo_violation_ratio", "cost_usd", "cpu_utilization")
    }
    assert violations == pytest.approx(truth["slo_violation_ratio"], rel=0.25, abs=1e-3)
    assert usd == pytest.approx(truth["cost_usd"], rel=0.04)
    assert utilization == pytest.approx(truth["cpu_utilization"], rel=0.04)


def test_every_fault_is_modelled() -> None:
    for kind in AnyFault.__args__[0].__args__:  # type: ignore[attr-defined]
        name = kind.model_fields["kind"].default
        task = on_nodes(name) if issubclass(kind, OF_NODES) else web([{"kind": name, "at_seconds": 5}])
        check_supported(task.scenario)
        clusters(task, 2).advance()


def test_a_leak_is_refused_where_requests_take_memory() -> None:
    content = web([{"kind": "memory_leak", "at_seconds": 5}]).model_dump(mode="json", exclude_none=True)
    content["scenario"]["service"]["memory"] = {"gib_per_request": 0.001}
    with pytest.raises(InputError, match="memory_leak where requests take memory"):
        check_supported(Task.model_validate(content).scenario)


def test_a_hazard_rate_is_how_often_a_fault_comes() -> None:
    per_hour, hours = 6.0, 2
    made = clusters(web([{"kind": "pod_kill", "per_hour": per_hour, "count": 1}]), 100)
    killed = 0
    for _ in range(240 * hours):
        made.advance()
        killed += made.state.killed.sum()
    assert killed == pytest.approx(100 * per_hour * hours, rel=4 / np.sqrt(100 * per_hour * hours))


def test_without_metrics_nothing_is_seen_and_then_a_whole_window_is_waited_for() -> None:
    made = clusters(web([{"kind": "metric_outage", "at_seconds": 600, "duration_seconds": 300}]), 20)
    seen = []
    for _ in range(100):
        made.advance()
        seen.append(np.isfinite(made.seen.rate[:, 0]))
    times = made.period_seconds * np.arange(1, 101)
    by_time = np.array(seen)
    assert by_time[(times > 90) & (times < 590)].all()
    assert not by_time[(times > 610) & (times < 890)].any()
    assert by_time[times > 1000].all()


def test_stale_metrics_stay_and_get_older() -> None:
    made = clusters(web([{"kind": "metric_staleness", "at_seconds": 600, "duration_seconds": 200}]), 5)
    rates, ages = [], []
    for _ in range(53):
        made.advance()
        rates.append(made.seen.rate[:, 0].copy())
        ages.append(made.seen.age_seconds[:, 0].copy())
    assert (np.array(rates)[41:] == rates[41]).all()
    np.testing.assert_allclose(np.diff(np.array(ages)[41:], axis=0), made.period_seconds)


def test_lost_readings_make_values_older_and_noise_keeps_the_mean() -> None:
    noise, gaps = 0.25, 0.3
    made = clusters(web([], noise=noise, gap_probability=gaps), 300)
    plain = clusters(web([]), 300)
    rates, ages, plain_ages = [], [], []
    for step in range(120):
        made.advance()
        plain.advance()
        if step > 10:
            rates.append(made.seen.rate[:, 0].copy())
            ages.append(made.seen.age_seconds[:, 0].copy())
            plain_ages.append(plain.seen.age_seconds[:, 0].copy())
    assert np.nanmean(rates) == pytest.approx(200.0, rel=0.01)
    assert np.nanstd(rates) == pytest.approx(200.0 * np.hypot(noise, 0.02), rel=0.1)
    later = np.mean(ages) - np.mean(plain_ages)
    assert later == pytest.approx(15.0 * gaps / (1 - gaps), rel=0.1)


def test_the_factor_of_noise_is_a_gamma_variable() -> None:
    import numba

    @numba.njit
    def draw(count: int, deviation: float) -> Any:
        values = np.empty(count)
        for place in range(count):
            values[place] = gamma_factor(np.uint64(place), 0, deviation)
        return values

    values = draw(200_000, 0.3)
    assert values.mean() == pytest.approx(1.0, abs=0.005)
    assert values.std() == pytest.approx(0.3, rel=0.02)


def test_bursts_keep_the_mean_and_have_the_chain_s_variance() -> None:
    process = ModulatedProcess(levels=(0.5, 3.0), mean_sojourn_seconds=(60.0, 20.0))
    task = load_task("web")
    workload = task.scenario.workload.model_copy(update={"arrivals": process})
    scenario = task.scenario.model_copy(update={"workload": workload})
    made = clusters(task.model_copy(update={"scenario": scenario}), 300)
    rates = np.array([made.advance().requests.copy() for _ in range(480)]) / made.period_seconds
    assert rates.mean() == pytest.approx(200.0, rel=0.02)
    levels, shares = process.factors(), process.stationary()
    variance = shares @ (levels - 1) ** 2
    decay, period = 1 / 60 + 1 / 20, made.period_seconds
    kept = 2 * (decay * period - 1 + np.exp(-decay * period)) / (decay * period) ** 2
    assert rates.std() == pytest.approx(200.0 * np.sqrt(variance * kept), rel=0.05)


def test_overlapping_slow_starts_lose_no_pods() -> None:
    slow = {"kind": "slow_start", "at_seconds": 60, "duration_seconds": 600, "factor": 5}
    made = clusters(web([slow, slow]), 4)
    for _ in range(240):
        made.apply(np.full((4, 1), 40))
        made.advance()
    assert made.state.starting.tolist() == [[0]] * 4
    assert made.state.ready.tolist() == [[40]] * 4


def test_a_fault_that_comes_often_comes_as_often_as_it_should() -> None:
    task = web([{"kind": "pod_kill", "per_hour": 1200, "count": 1}])
    made = clusters(task, 50)
    killed = 0
    for _ in range(240):
        made.apply(np.full((50, 1), 40))
        made.advance()
        killed += made.state.killed.sum()
    assert killed == pytest.approx(50 * 1200, rel=0.03)


def test_stale_metrics_do_not_make_the_hpa_run_away(tmp_path: Path) -> None:
    """The load doubles while metrics stand still: pods that came since are no part of what was measured."""
    task = web([{"kind": "metric_staleness", "at_seconds": 600, "duration_seconds": 300}])
    trace = Trace(np.r_[np.full(9, 6000.0), np.full(51, 13_200.0)], 60.0, name="jump")
    policy = "hpa:target=0.5"
    with Sweep(tmp_path) as sweep:
        (truth,) = sweep.outcomes([Run(task, trace, None, policy, policy, 0)], None)
    _, usd, _ = on_batch_engine(task, trace, policy)
    assert usd == pytest.approx(truth.row["cost_usd"], rel=0.05)


def test_however_many_readings_are_lost_rates_are_those_of_the_load() -> None:
    made = clusters(web([], scrape_seconds=60.0, window_seconds=60.0, gap_probability=0.8), 64)
    for _ in range(480):
        made.advance()
        seen = made.seen.rate[np.isfinite(made.seen.rate)]
        assert ((seen > 150) & (seen < 250)).all()


def test_values_that_are_too_old_are_not_shown() -> None:
    made = clusters(web([], scrape_seconds=60.0, window_seconds=60.0, stale_seconds=20.0), 16)
    shown = []
    for _ in range(200):
        made.advance()
        shown.append(np.isfinite(made.seen.rate).mean())
    assert np.mean(shown[20:]) == pytest.approx(1 / 3, abs=0.15)


def test_the_first_scrape_is_when_it_is_said_to_be() -> None:
    made = clusters(web([], first_scrape_seconds=5.0), 8)
    assert made.world.first_scrape_seconds.tolist() == [5.0] * 8


def test_requests_that_come_evenly_do() -> None:
    task = load_task("web")
    workload = task.scenario.workload.model_copy(update={"arrivals": DeterministicProcess()})
    scenario = task.scenario.model_copy(update={"workload": workload})
    load = Trace(np.full(60, 60 * 200.1), 60.0, name="steady")
    made = clusters(task.model_copy(update={"scenario": scenario}), 3, load)
    total = np.zeros(3)
    for _ in range(200):
        requests = made.advance().requests
        assert set(requests.tolist()) <= {3001, 3002}
        total += requests
    assert total.tolist() == [np.floor(200 * 15 * 200.1 + 0.5)] * 3
