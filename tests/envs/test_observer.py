"""The observer: named numbers on fixed scales, whatever is missing."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.observer import FEATURES, Observer, ObserverSettings
from simulator.plant import Metric, Snapshot

SETTINGS = ObserverSettings(capacity_rps=(80.0,), slots_per_pod=(4,), slo_seconds=0.3, period_seconds=15.0)
NAMES = [feature.name for feature in FEATURES]
METRICS = ("cpu", "rate", "latency_p95", "queue")


def look(
    wanted: int = 4,
    *,
    starting: int = 0,
    ready: int = 4,
    draining: int = 0,
    cpu: float = 0.5,
    rate: float = 160.0,
    latency: float = 0.1,
    queue: float = 0.0,
    age: float = 15.0,
) -> Snapshot:
    def metric(value: float) -> Metric:
        return Metric(np.array([value]), np.array([math.inf if math.isnan(value) else age]))

    counts = [np.array([count]) for count in (wanted, starting, ready, draining)]
    values = [metric(value) for value in (cpu, rate, latency, queue)]
    return Snapshot(np.array(0.0), *counts, *values)


def seen(observer: Observer, **numbers: float) -> dict[str, float]:
    return dict(zip(NAMES, observer.observe(look(**numbers)).tolist(), strict=True))  # type: ignore[arg-type]


def stacked(snapshots: list[Snapshot]) -> Snapshot:
    def metric(name: str) -> Metric:
        found = [getattr(snapshot, name) for snapshot in snapshots]
        return Metric(np.stack([m.value for m in found]), np.stack([m.age_seconds for m in found]))

    counts = ("time_seconds", "wanted", "starting", "ready", "draining")
    arrays = [np.stack([getattr(snapshot, name) for snapshot in snapshots]) for name in counts]
    return Snapshot(*arrays, *(metric(name) for name in METRICS))


NUMBERS = st.fixed_dictionaries(
    {
        "wanted": st.integers(0, 10_000),
        "starting": st.integers(0, 10_000),
        "ready": st.integers(0, 10_000),
        "draining": st.integers(0, 10_000),
        "age": st.floats(0, 1e9) | st.just(math.inf),
    }
    | {
        name: st.floats(0, 1e12) | st.sampled_from([0.0, math.nan, math.inf])
        for name in ("cpu", "rate", "latency", "queue")
    }
)


def test_names_are_unique_and_bounds_hold_zero() -> None:
    assert len(set(NAMES)) == len(NAMES) == Observer(SETTINGS).size
    assert all(feature.low <= 0 < feature.high and feature.scale > 0 and feature.unit for feature in FEATURES)
    low, high = Observer(SETTINGS).bounds
    assert low.dtype == high.dtype == np.float32
    assert low.tolist() == [feature.low for feature in FEATURES]
    assert high.tolist() == [feature.high for feature in FEATURES]


def test_each_feature_says_what_its_unit_says() -> None:
    observer = Observer(SETTINGS)
    numbers = {"wanted": 7, "starting": 3, "ready": 2, "draining": 1, "cpu": 0.75, "rate": 280.0}
    found = seen(observer, **numbers, latency=0.3 * (math.e - 1), queue=28 * (math.e**2 - 1), age=30.0)
    expected = {
        "wanted": 3 / 8,
        "ready": 2 / 7,
        "starting": 3 / 7,
        "draining": 1 / 7,
        "cpu": 0.75,
        "load": 0.5,
        "load_change_1m": 0.0,
        "load_change_5m": 0.0,
        "load_highest_5m": 0.5,
        "latency_p95": 1.0,
        "queue": 2.0,
        "metric_age": 0.5,
        "metric_missing": 0.0,
        "latency_missing": 0.0,
    }
    assert found == pytest.approx(expected, abs=1e-6)


def test_changes_and_the_highest_load_look_back_one_and_five_minutes() -> None:
    observer = Observer(SETTINGS)
    rates = [*range(0, 320, 10), 50]
    for step, rate in enumerate(rates):
        found = seen(observer, rate=float(rate))
        now = step
        minute = (rates[now] - rates[now - 4]) / 320 / 0.5 if now >= 4 else 0.0
        five = (rates[now] - rates[now - 20]) / 320 / 0.5 if now >= 20 else 0.0
        assert found["load_change_1m"] == pytest.approx(minute, abs=1e-6)
        assert found["load_change_5m"] == pytest.approx(five, abs=1e-6)
        assert found["load_highest_5m"] == pytest.approx(
            max(rates[max(0, now - 20) : now + 1]) / 320, abs=1e-6
        )
    assert found["load_change_1m"] < 0
    assert found["load_highest_5m"] > 5 * found["load"]


@pytest.mark.parametrize(
    ("missing", "zero", "flags"),
    [
        ({"cpu": math.nan}, ["cpu"], (1.0, 0.0)),
        ({"rate": math.nan}, ["load", "load_change_1m", "load_change_5m"], (1.0, 0.0)),
        ({"latency": math.nan}, ["latency_p95"], (0.0, 1.0)),
        ({"queue": math.nan}, ["queue"], (0.0, 0.0)),
    ],
)
def test_a_missing_metric_is_zero_with_its_flag(
    missing: dict[str, float], zero: list[str], flags: tuple[float, float]
) -> None:
    observer = Observer(SETTINGS)
    present = {"cpu": 0.8, "latency": 0.5, "queue": 9.0}
    for rate in range(100, 130):
        whole = seen(observer, **present, rate=float(rate))
    assert all(whole[name] != 0 for name in zero)
    found = seen(observer, **({**present, "rate": 300.0} | missing))
    assert all(found[name] == 0 for name in zero)
    assert (found["metric_missing"], found["latency_missing"]) == flags
    untouched = set(NAMES) - set(zero) - {"metric_age", "metric_missing", "latency_missing"}
    assert all(found[name] != 0 for name in untouched - {"starting", "draining"})


def test_a_gap_in_the_rate_is_not_taken_for_no_load() -> None:
    observer = Observer(SETTINGS)
    for rate in (160.0, math.nan, math.nan, math.nan, 160.0):
        found = seen(observer, rate=rate)
    assert found["load_change_1m"] == 0
    assert seen(observer, rate=160.0)["load_change_1m"] == 0, "nothing is known of a minute ago"
    assert found["load_highest_5m"] == pytest.approx(0.5)


@given(st.lists(NUMBERS, min_size=1, max_size=6))
def test_every_vector_is_within_its_bounds_and_never_nan(story: list[dict[str, float]]) -> None:
    observer = Observer(SETTINGS)
    low, high = observer.bounds
    for numbers in story:
        vector = observer.observe(look(**numbers))  # type: ignore[arg-type]
        assert vector.dtype == np.float32
        assert vector.shape == (14,)
        assert (vector >= low).all()
        assert (vector <= high).all()


@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=5), st.integers(0, 7))
def test_many_clusters_equal_single_ones_bit_for_bit_also_after_a_masked_reset(
    story: list[list[dict[str, float]]], resets: int
) -> None:
    mask = np.array([bool(resets >> bit & 1) for bit in range(3)])
    together, alone = Observer(SETTINGS), [Observer(SETTINGS) for _ in range(3)]
    for step, row in enumerate(story):
        if step == 2:
            together.reset(mask)
            for observer, forget in zip(alone, mask, strict=True):
                if forget:
                    observer.reset()
        snapshots = [look(**numbers) for numbers in row]  # type: ignore[arg-type]
        vectors = together.observe(stacked(snapshots))
        assert vectors.shape == (3, 14)
        for index, observer in enumerate(alone):
            assert observer.observe(snapshots[index]).tobytes() == vectors[index].tobytes()


def test_reset_forgets_the_rates() -> None:
    observer, fresh = Observer(SETTINGS), Observer(SETTINGS)
    for rate in range(0, 300, 10):
        seen(observer, rate=float(rate))
    observer.reset()
    assert seen(observer, rate=40.0) == seen(fresh, rate=40.0)


def test_scales_are_constants() -> None:
    """What was seen more than five minutes ago leaves no trace, however extreme it was."""
    calm, shaken = Observer(SETTINGS), Observer(SETTINGS)
    for _ in range(200):
        seen(shaken, cpu=50.0, rate=1e9, latency=1e4, queue=1e9, wanted=9000, age=1e6)
    vectors = [
        [observer.observe(look(rate=float(rate))).tobytes() for rate in range(21)]
        for observer in (calm, shaken)
    ]
    assert vectors[0][-1] == vectors[1][-1]
    assert vectors[0][-2] != vectors[1][-2], "five minutes are remembered"


def test_two_services_stand_feature_by_feature() -> None:
    settings = ObserverSettings(
        capacity_rps=(80.0, 10.0), slots_per_pod=(4, 1), slo_seconds=0.3, period_seconds=15.0
    )
    observer, first = Observer(settings), look(wanted=4, rate=160.0)
    second = look(wanted=2, ready=1, cpu=0.9, rate=15.0)
    both = dataclasses.replace(
        first,
        **{
            n: np.concatenate([getattr(first, n), getattr(second, n)])
            for n in ("wanted", "starting", "ready", "draining")
        },
        **{
            n: Metric(
                *(
                    np.concatenate([getattr(getattr(s, n), part) for s in (first, second)])
                    for part in ("value", "age_seconds")
                )
            )
            for n in METRICS
        },
    )
    table = observer.observe(both).reshape(len(FEATURES), 2)
    assert observer.size == 28
    assert observer.bounds[0].shape == (28,)
    assert table[NAMES.index("load")].tolist() == [0.5, 0.75]
    assert table[NAMES.index("ready")].tolist() == [1.0, 0.5]
    assert table[:, 0].tobytes() == Observer(SETTINGS).observe(first).tobytes()


def test_the_snapshot_is_not_touched() -> None:
    snapshot = look(rate=math.nan)
    before = repr(snapshot)
    observer = Observer(SETTINGS)
    observer.observe(snapshot)
    observer.reset(np.array(True))
    observer.observe(snapshot)
    assert repr(snapshot) == before


def test_periods_in_which_nobody_looked_count() -> None:
    """After ticks that failed, a minute ago is still a minute ago, and what was not seen is not known."""
    steady, gapped = Observer(SETTINGS), Observer(SETTINGS)
    for step in range(12):
        snapshot = dataclasses.replace(look(rate=100.0 + 10 * step), time_seconds=np.array(15.0 * step))
        whole = dict(zip(NAMES, steady.observe(snapshot).tolist(), strict=True))
        if step not in {4, 5, 6}:
            found = dict(zip(NAMES, gapped.observe(snapshot).tolist(), strict=True))
    assert found["load_change_1m"] == whole["load_change_1m"] != 0
    assert found["load_highest_5m"] == whole["load_highest_5m"]
    late = dataclasses.replace(look(rate=500.0), time_seconds=np.array(15.0 * 11 + 3600))
    after = dict(zip(NAMES, gapped.observe(late).tolist(), strict=True))
    assert after["load_change_1m"] == 0, "what was an hour ago is no minute ago"
    assert after["load_highest_5m"] == after["load"]
