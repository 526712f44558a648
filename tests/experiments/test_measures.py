"""Measures from Intervals with known contents."""

from __future__ import annotations

import math

import numpy as np
import pytest
from intervals import interval

from envs.task import load_task
from experiments.measures import MEASURES, Tally, measure
from simulator.latency import BUCKETS, bucket_edges_seconds
from simulator.plant import Interval
from simulator.trace import Trace


def episode(offered: int, late: int, failed: int, seconds: float, cores: float) -> Interval:
    """Two services that cost alike; one class of requests."""
    counts = np.zeros((1, BUCKETS), dtype=np.int64)
    counts[0, int(np.searchsorted(bucket_edges_seconds(), 0.2, side="right")) - 1] = offered - failed
    return interval(
        (2,),
        offered=np.array([offered, 3 * offered]),
        cpu_seconds=np.array([cores / 2, 0.0]),
        cpu_capacity_seconds=np.array([cores / 2, cores / 2]),
        pod_seconds=np.array([seconds / 3, 2 * seconds / 3]),
        pods_started=np.array([2, 0]),
        cost_usd=np.array([seconds / 2000, seconds / 2000]),
        requests_offered=np.array([offered]),
        requests_served=np.array([offered - failed]),
        requests_dropped=np.array([failed // 2]),
        requests_failed=np.array([failed - failed // 2]),
        requests_late=np.array([[late]]),
        requests_latency_counts=counts,
    )


def test_every_measure_is_its_formula() -> None:
    tally = Tally()
    tally.add(episode(100, 7, 2, 60.0, 300.0), changed=True)
    tally.add(episode(300, 1, 0, 90.0, 100.0), changed=False)
    found = tally.measures()
    assert tuple(found) == MEASURES
    assert found["cost_usd"] == pytest.approx(0.15)
    assert found["replica_hours"] == pytest.approx(150 / 3600)
    assert found["slo_violation_ratio"] == 8 / 400
    assert found["error_ratio"] == 2 / 400
    assert found["scale_events"] == 1
    assert found["pods_started"] == 4
    assert found["cpu_utilization"] == pytest.approx(0.5)
    assert {found[f"latency_p{percent}_ms"] for percent in (50, 95, 99)} == {found["latency_p50_ms"]}
    assert found["latency_p50_ms"] == pytest.approx(200.0, rel=0.008)
    assert math.isnan(found["regret_to_oracle"])


def test_without_requests_ratios_and_latencies_are_nan_and_costs_are_not() -> None:
    found = measure([episode(0, 0, 0, 30.0, 0.0)])
    missing = {name for name, value in found.items() if math.isnan(value)}
    latencies = {f"latency_p{percent}_ms" for percent in (50, 95, 99)}
    ratios = {"slo_violation_ratio", "error_ratio", "cpu_utilization", "regret_to_oracle"}
    assert missing == latencies | ratios
    assert found["cost_usd"] == 0.03


def test_measures_do_not_depend_on_how_an_episode_is_cut() -> None:
    task = load_task("web")
    trace = Trace(np.full(10, 60 * 250.0), 60.0)
    whole = task.build(5, trace)
    parts = task.build(5, trace)
    once = measure([whole.advance(600.0)])
    cut = measure([parts.advance(seconds) for seconds in (0.5, 14.5, 200.0, 385.0)])
    assert once == pytest.approx(cut, nan_ok=True)
    assert once["slo_violation_ratio"] == cut["slo_violation_ratio"]
