"""Measures from Intervals with known contents."""

from __future__ import annotations

import math

import numpy as np
import pytest

from envs.task import load_task
from experiments.measures import MEASURES, Tally, measure
from simulator.latency import BUCKETS, bucket_edges_seconds
from simulator.plant import Interval
from simulator.trace import Trace


def interval(offered: int, late: int, failed: int, seconds: float, slots: float) -> Interval:
    counts = np.zeros((1, BUCKETS), dtype=np.int64)
    counts[0, int(np.searchsorted(bucket_edges_seconds(), 0.2, side="right")) - 1] = offered - failed

    def whole(value: int) -> np.ndarray:
        return np.array([value])

    def real(value: float) -> np.ndarray:
        return np.array([value])

    return Interval(
        start_seconds=np.array(0.0),
        duration_seconds=np.array(15.0),
        offered=whole(offered),
        started=whole(offered),
        served=whole(offered - failed),
        failed=whole(failed),
        late=np.array([[late]]),
        latency_counts=counts,
        waited_seconds=real(0.0),
        waiting_request_seconds=real(0.0),
        busy_slot_seconds=real(slots / 2),
        serving_slot_seconds=real(slots),
        waiting=whole(0),
        in_service=whole(0),
        pod_seconds=real(seconds),
        pods_started=whole(2),
        cost_usd=real(seconds / 1000),
    )


def test_every_measure_is_its_formula() -> None:
    tally = Tally()
    tally.add(interval(100, 7, 2, 60.0, 300.0), changed=True)
    tally.add(interval(300, 1, 0, 90.0, 100.0), changed=False)
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
    found = measure([interval(0, 0, 0, 30.0, 0.0)])
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
