"""The metric pipeline: lag, age and windows against what truly happened."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from simulator.cluster import Cluster
from simulator.latency import percentile_seconds
from simulator.metrics import MetricPipeline
from simulator.plant import Desired, Interval, Snapshot
from simulator.scenario import Scenario
from simulator.trace import Trace

NAMES = ("cpu", "rate", "latency_p95", "queue")
SLOTS = 4


def build(
    rates: list[float], *, replicas: tuple[int, int] = (2, 2), seed: int = 3, **metrics: Any
) -> Cluster:
    fields = {
        "workload": {"model": "nasa", "mean_rps": 1},
        "service": {
            "slots_per_pod": SLOTS,
            "vcpu_per_pod": 0.5,
            "service_time": {"law": "exponential", "mean_seconds": 0.2},
            "start_up": {"p50_seconds": 10, "p95_seconds": 10, "pending_share": 0.5},
            "min_replicas": replicas[0],
            "max_replicas": replicas[1],
        },
        "metrics": {"first_scrape_seconds": 0} | metrics,
        "prices": {"usd_per_vcpu_hour": 1},
    }
    return Scenario.model_validate(fields).build(seed, (), Trace(60 * np.array(rates), 60.0))


def values(snapshot: Snapshot) -> dict[str, float]:
    return {name: float(getattr(snapshot, name).value[0]) for name in NAMES}


def ages(snapshot: Snapshot) -> set[float]:
    return {float(getattr(snapshot, name).age_seconds[0]) for name in NAMES}


def assert_shows(snapshot: Snapshot, window: list[Interval]) -> None:
    """The values are the window's own, with all pods ready all the time."""
    seconds = sum(float(each.duration_seconds) for each in window)
    busy, ready = (
        sum(float(getattr(each, name)[0]) for each in window)
        for name in ("busy_slot_seconds", "serving_slot_seconds")
    )
    seen = values(snapshot)
    assert seen["rate"] == sum(int(each.offered[0]) for each in window) / seconds
    assert seen["cpu"] == pytest.approx(busy / ready, rel=1e-9)
    assert seen["queue"] == int(window[-1].waiting[0])
    counts = np.sum([each.latency_counts[0] for each in window], axis=0)
    assert seen["latency_p95"] == percentile_seconds(counts, 0.95)


def test_a_missing_metric_is_nan_of_no_age() -> None:
    cluster = build([30.0, 30.0])
    for _ in range(30):
        snapshot = cluster.snapshot()
        assert all(math.isnan(value) for value in values(snapshot).values())
        assert ages(snapshot) == {math.inf}
        groups = snapshot.pods["cpu"]
        assert int(groups.missing.count[0]) == 2
        assert int(groups.counted.count[0]) == 0
        cluster.advance(1.0)
    assert ages(cluster.snapshot()) == {15.0}


def test_a_sample_is_seen_after_its_lag_and_ages_until_the_next() -> None:
    cluster = build([30.0, 50.0, 10.0])
    cluster.advance(30.0)
    seen = []
    for _ in range(120):
        seen.append((cluster.now_seconds, *ages(cluster.snapshot())))
        cluster.advance(1.0)
    assert all(len(each) == 2 for each in seen)
    assert [age for _, age in seen] == [15.0 + (now % 15.0) for now, _ in seen]


@pytest.mark.parametrize(("lag", "first"), [(15.0, 30.0), (20.0, 35.0), (40.0, 55.0)])
def test_the_first_sample_is_seen_at_scrape_and_lag(lag: float, first: float) -> None:
    cluster = build([30.0, 30.0], lag_seconds=lag)
    cluster.advance(first - 0.5)
    assert ages(cluster.snapshot()) == {math.inf}
    cluster.advance(0.5)
    assert ages(cluster.snapshot()) == {lag}


def test_without_lag_a_scrape_at_the_end_of_a_step_is_in_the_next() -> None:
    cluster = build([30.0], lag_seconds=0.0)
    cluster.advance(15.0)
    assert ages(cluster.snapshot()) == {math.inf}
    cluster.advance(0.5)
    assert ages(cluster.snapshot()) == {0.5}


def test_values_are_the_window_s_truth() -> None:
    cluster = build([30.0, 60.0, 5.0, 35.0])
    truth = []
    for _ in range(16):
        truth.append(cluster.advance(15.0))
        if len(truth) > 1:
            assert_shows(cluster.snapshot(), truth[-2:-1])
    assert max(int(each.waiting[0]) for each in truth) > 0


def test_a_window_of_several_scrapes_is_averaged_over_all() -> None:
    cluster = build([30.0, 60.0, 5.0, 35.0], window_seconds=60, scrape_seconds=15, lag_seconds=10)
    truth = []
    for step in range(16):
        truth.append(cluster.advance(15.0))
        if step < 4:
            assert ages(cluster.snapshot()) == {math.inf}
        else:
            assert ages(cluster.snapshot()) == {15.0}
            assert_shows(cluster.snapshot(), truth[-5:-1])


def test_no_answers_are_no_latency_and_no_load_is_no_rate() -> None:
    cluster = build([0.0, 0.0])
    cluster.advance(40.0)
    seen = values(cluster.snapshot())
    assert math.isnan(seen.pop("latency_p95"))
    assert seen == {"cpu": 0.0, "rate": 0.0, "queue": 0.0}


def test_without_pods_there_is_no_cpu_but_a_queue() -> None:
    cluster = build([10.0, 10.0], replicas=(0, 2))
    cluster.apply(Desired(np.array([0])))
    truth = [cluster.advance(15.0) for _ in range(4)]
    snapshot = cluster.snapshot()
    seen = values(snapshot)
    assert math.isnan(seen["cpu"])
    assert math.isnan(seen["latency_p95"])
    assert seen["queue"] == int(truth[2].waiting[0]) > 0
    assert float(snapshot.pods["cpu"].age_seconds[0]) == math.inf


def test_a_new_pod_has_no_sample_of_the_pod_before_it() -> None:
    """Its row's last sample is another pod's: the metric server has none for it yet."""
    cluster = build([40.0, 40.0, 40.0], replicas=(2, 2))
    cluster.advance(45.0)
    cluster.apply(Desired(np.array([1])))
    cluster.advance(10.0)
    cluster.apply(Desired(np.array([2])))
    cluster.advance(3.0)
    groups = cluster.snapshot().pods["cpu"]
    assert int(groups.counted.count[0]) == int(groups.counted.samples[0]) == 1
    assert int(groups.unready.count[0]) == 1  # pending
    assert int(groups.unready.samples[0]) == 0
    assert int(groups.unready.usage_milli[0]) == 0
    cluster.advance(32.0)  # ready since 10 s after it was asked for, scraped and seen
    groups = cluster.snapshot().pods["cpu"]
    assert int(groups.counted.samples[0] + groups.unready.samples[0]) == 2


def test_pod_usage_is_the_cpu_in_thousandths() -> None:
    cluster = build([25.0, 25.0])
    truth = [cluster.advance(15.0) for _ in range(6)]
    groups = cluster.snapshot().pods["cpu"]
    busy_slots = float(truth[4].busy_slot_seconds[0]) / 15.0
    assert int(groups.counted.count[0]) == 2
    assert int(groups.counted.usage_milli[0]) == pytest.approx(1000 * busy_slots * 0.5 / SLOTS, abs=1)
    assert int(groups.counted.request_milli[0]) == 1000
    assert float(groups.age_seconds[0]) == 15.0


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        (
            {"scrape_seconds": 15, "window_seconds": 20},
            r"window_seconds \(20\) must be a whole number of scrape_seconds",
        ),
        ({"scrape_seconds": 30, "window_seconds": 15}, r"window_seconds \(15\)"),
        ({"scrape_seconds": 0}, "scrape_seconds"),
        ({"window_seconds": -15}, "window_seconds"),
        ({"lag_seconds": -1}, "lag_seconds"),
        ({"lag_seconds": "soon"}, "lag_seconds"),
        ({"period_seconds": 15}, "period_seconds"),
    ],
)
def test_a_wrong_pipeline_is_named(fields: dict[str, Any], part: str) -> None:
    with pytest.raises(ValidationError, match=part):
        MetricPipeline.model_validate(fields)


def test_where_in_the_interval_scrapes_fall_is_drawn_and_policies_see_every_age() -> None:
    seen = []
    for seed in range(60):
        cluster = build([25.0] * 4, seed=seed, first_scrape_seconds=None)
        cluster.advance(90.0)
        (first,) = ages(cluster.snapshot())
        cluster.advance(15.0)
        assert min(ages(cluster.snapshot())) == pytest.approx(first), "drawn once"
        seen.append(first)
    assert 15.0 <= min(seen) < 17.0
    assert 28.0 < max(seen) <= 30.0
    assert np.mean(seen) == pytest.approx(22.5, abs=2.0)
