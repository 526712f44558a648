"""The cluster: conservation, Little's law, determinism, pods and cost."""

from __future__ import annotations

import dataclasses
import heapq
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simulator.cluster import Cluster
from simulator.errors import InputError
from simulator.laws.draws import draw_many
from simulator.laws.exponential import ExponentialLaw
from simulator.plant import Desired, Interval
from simulator.pods import DRAINING, READY, STARTING, Pods
from simulator.randomness import SERVICE, call_key, purpose_key, request_key, seed_key
from simulator.scenario import Scenario
from simulator.trace import Trace

THRESHOLDS = (0.05, 0.3, 2.0)
USD_PER_VCPU_HOUR = 0.04
VCPU = 0.5
SLOTS = 4
COUNTS = ("offered", "started", "served", "failed", "latency_counts", "pods_started")
OF_REQUESTS = ("offered", "served", "failed", "late", "latency_counts")
SUMS = (
    "waited_seconds",
    "waiting_request_seconds",
    "busy_slot_seconds",
    "serving_slot_seconds",
    "pod_seconds",
    "cost_usd",
)


def scenario(**service: Any) -> Scenario:
    """A small world; ``service`` changes fields of its service."""
    fields: dict[str, Any] = {
        "slots_per_pod": SLOTS,
        "vcpu_per_pod": VCPU,
        "service_time": {"law": "lognormal", "mean_seconds": 0.2, "scv": 2.0},
        "start_up": {"p50_seconds": 10, "p95_seconds": 30},
        "min_replicas": 1,
        "max_replicas": 50,
    }
    return Scenario.model_validate(
        {
            "workload": {"model": "nasa", "mean_rps": 1},
            "service": fields | service,
            "prices": {"usd_per_vcpu_hour": USD_PER_VCPU_HOUR},
        }
    )


def load(*rates_rps: float, bin_seconds: float = 60.0) -> Trace:
    return Trace(np.array(rates_rps) * bin_seconds, bin_seconds, name="load")


def build(trace: Trace, seed: int = 1, **service: Any) -> Cluster:
    return scenario(**service).build(seed, THRESHOLDS, trace)


def ask(cluster: Cluster, replicas: int) -> None:
    cluster.apply(Desired(np.array([replicas])))


def content(value: Any) -> Any:
    """All numbers in a Snapshot or Interval with their types, to be compared byte by byte."""
    if dataclasses.is_dataclass(value):
        return {field.name: content(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, dict):
        return {key: content(each) for key, each in value.items()}
    return value


def one(value: Any) -> float:
    assert value.shape == (1,)
    return float(value[0])


def assert_conserved(interval: Interval, waiting: int, in_service: int) -> None:
    offered, started, served, failed = (int(getattr(interval, name)[0]) for name in COUNTS[:4])
    now_waiting, now_in_service = int(interval.waiting[0]), int(interval.in_service[0])
    assert waiting + offered == started + now_waiting
    assert in_service + started == served + failed + now_in_service
    assert int(interval.latency_counts.sum()) == served
    assert one(interval.cost_usd) == pytest.approx(
        one(interval.pod_seconds) * VCPU * USD_PER_VCPU_HOUR / 3600
    )
    busy, serving = one(interval.busy_slot_seconds), one(interval.serving_slot_seconds)
    assert -1e-9 <= busy <= serving + 1e-6
    assert serving <= one(interval.pod_seconds) * SLOTS + 1e-6
    assert one(interval.waited_seconds) >= -1e-9


STEPS = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from([0.5, 5.0, 15.0, 15.0, 40.0])), min_size=1, max_size=15
)
RATES = st.lists(st.sampled_from([0.0, 1.0, 20.0, 60.0, 200.0]), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60)
@given(
    rates=RATES,
    steps=STEPS,
    seed=st.integers(0, 2**32),
    grace=st.sampled_from([0.0, 0.1, 1.0, 30.0]),
    law=st.sampled_from(["lognormal", "exponential", "deterministic", "gamma"]),
)
def test_no_request_is_lost_and_little_holds(
    rates: list[float], steps: list[tuple[int, float]], seed: int, grace: float, law: str
) -> None:
    """Random load, random scaling; then no more load and time to drain."""
    trace = load(*rates, *([0.0] * 60))
    service_time = {"law": law, "mean_seconds": 0.2}
    cluster = build(trace, seed, service_time=service_time, drain_grace_seconds=grace)
    intervals = []
    waiting = in_service = 0
    for replicas, seconds in steps:
        ask(cluster, replicas)
        if cluster.now_seconds + seconds > len(rates) * 60:
            break
        intervals.append(cluster.advance(seconds))
        assert_conserved(intervals[-1], waiting, in_service)
        waiting, in_service = int(intervals[-1].waiting[0]), int(intervals[-1].in_service[0])
    ask(cluster, 40)
    intervals.append(cluster.advance(trace.duration_seconds - cluster.now_seconds))
    assert_conserved(intervals[-1], waiting, in_service)
    assert int(intervals[-1].waiting[0]) == int(intervals[-1].in_service[0]) == 0
    total = {name: sum(getattr(each, name)[0] for each in intervals) for name in COUNTS + SUMS}
    assert total["offered"] == total["started"] == total["served"] + total["failed"]
    assert total["waiting_request_seconds"] == pytest.approx(total["waited_seconds"], rel=1e-9, abs=1e-6)
    requests = {name: sum(getattr(each.requests, name)[0] for each in intervals) for name in OF_REQUESTS}
    assert requests["offered"] == total["offered"]
    assert requests["latency_counts"].tolist() == total["latency_counts"].tolist()
    assert (np.diff(requests["late"]) <= 0).all()
    assert (requests["late"] >= requests["failed"]).all()
    if grace == 30.0:
        # Nothing drains for longer than 30 s here: all that is busy is in service of what is served.
        assert total["failed"] == 0


def reference_late(trace: Trace, seed: int, servers: int, mean_seconds: float) -> dict[str, Any]:
    """The same arrivals and demands, request by request, on a fixed number of servers."""
    arrivals_seed, demands_seed, _ = np.random.SeedSequence(seed).spawn(3)
    rng = np.random.default_rng(arrivals_seed)
    expected = np.concatenate(([0.0], np.cumsum(trace.requests)))
    reached, arrivals = float(rng.standard_exponential()), []
    while reached < expected[-1]:
        arrivals.append(float(np.interp(reached, expected, trace.bin_seconds * np.arange(len(expected)))))
        reached += float(rng.standard_exponential())
    seed_of = seed_key(demands_seed)
    calls = [call_key(np.uint64(request_key(seed_of, i)), 0, 0, 0) for i in range(len(arrivals))]
    law = ExponentialLaw(mean_seconds=mean_seconds)
    keys = [purpose_key(np.uint64(call), SERVICE) for call in calls]
    demands = draw_many(law.code, np.array(law.parameters()), np.array(keys, dtype=np.uint64))
    free = [0.0] * servers
    end = trace.duration_seconds
    counts: dict[str, Any] = {
        "offered": len(arrivals),
        "served": 0,
        "late": [0] * len(THRESHOLDS),
        "waited": 0.0,
    }
    for arrived, demand in zip(arrivals, demands, strict=True):
        start = max(arrived, heapq.heappop(free))
        finish = start + float(demand)
        heapq.heappush(free, finish)
        counts["served"] += finish < end
        counts["waited"] += start - arrived if start < end else 0.0
        for index, threshold in enumerate(THRESHOLDS):
            counts["late"][index] += arrived + threshold < min(finish, end)
    return counts


@settings(deadline=None, max_examples=30)
@given(
    rates=st.lists(st.sampled_from([1.0, 30.0, 45.0, 90.0]), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
    pods=st.integers(1, 3),
    cuts=st.lists(st.floats(0.01, 239.0), max_size=10, unique=True),
)
def test_late_counts_are_those_of_a_plain_simulation(
    rates: list[float], seed: int, pods: int, cuts: list[float]
) -> None:
    trace = load(*rates)
    fixed = {"min_replicas": pods, "max_replicas": pods}
    cluster = build(trace, seed, service_time={"law": "exponential", "mean_seconds": 0.1}, **fixed)
    ends = [cut for cut in sorted(cuts) if cut < trace.duration_seconds - 1e-3] + [trace.duration_seconds]
    intervals = []
    for end in ends:
        if end - cluster.now_seconds > 1e-9:
            intervals.append(cluster.advance(end - cluster.now_seconds))
            assert one(intervals[-1].busy_slot_seconds) <= one(intervals[-1].serving_slot_seconds) + 1e-9
    expected = reference_late(trace, seed, pods * SLOTS, 0.1)
    assert sum(int(each.offered[0]) for each in intervals) == expected["offered"]
    assert sum(int(each.served[0]) for each in intervals) == expected["served"]
    assert sum(each.requests.late[0] for each in intervals).tolist() == expected["late"]
    assert sum(one(each.waited_seconds) for each in intervals) == pytest.approx(expected["waited"], abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(
    rates=RATES,
    replicas=st.lists(st.integers(0, 10), min_size=1, max_size=5),
    seed=st.integers(0, 2**32),
    grace=st.sampled_from([0.0, 1.0, 30.0]),
    parts=st.sampled_from([2, 4, 60]),
)
def test_results_are_the_same_however_time_is_cut(
    rates: list[float], replicas: list[int], seed: int, grace: float, parts: int
) -> None:
    whole, cut = (build(load(*rates), seed, drain_grace_seconds=grace) for _ in range(2))
    for count, _ in zip(replicas, rates, strict=False):
        ask(whole, count)
        ask(cut, count)
        expected = whole.advance(60.0)
        found = [cut.advance(60.0 / parts) for _ in range(parts)]
        for name in COUNTS:
            assert sum(getattr(each, name) for each in found).tolist() == getattr(expected, name).tolist(), (
                name
            )
        for name in OF_REQUESTS:
            parts_of = sum(getattr(each.requests, name) for each in found)
            assert parts_of.tolist() == getattr(expected.requests, name).tolist(), name
        for name in SUMS:
            total = sum(one(getattr(each, name)) for each in found)
            assert total == pytest.approx(one(getattr(expected, name)), rel=1e-9, abs=1e-9), name
        for name in ("waiting", "in_service"):
            assert getattr(found[-1], name).tolist() == getattr(expected, name).tolist()
        assert content(whole.snapshot())["pods"].keys() == content(cut.snapshot())["pods"].keys()
        assert whole.snapshot().ready.tolist() == cut.snapshot().ready.tolist()


def play(cluster: Cluster, replicas: list[int]) -> list[Any]:
    seen = []
    for count in replicas:
        ask(cluster, count)
        interval = cluster.advance(15.0)
        seen.append((content(interval), content(cluster.snapshot())))
    return seen


def test_the_same_seed_gives_the_same_bytes() -> None:
    replicas = [3, 8, 2, 9, 9, 1, 0, 4, 12, 5, 5, 2]
    first, second = (play(build(load(40.0, 90.0, 20.0), seed=7), replicas) for _ in range(2))
    assert first == second
    assert play(build(load(40.0, 90.0, 20.0), seed=8), replicas) != first
    spawned = scenario().build(np.random.SeedSequence(7), THRESHOLDS, load(40.0, 90.0, 20.0))
    assert play(spawned, replicas) == first


def test_every_field_has_its_type_and_shape() -> None:
    cluster = build(load(30.0))
    interval, snapshot = cluster.advance(15), cluster.snapshot()
    for name in (*COUNTS[:4], "waiting", "in_service", "pods_started"):
        assert (getattr(interval, name).dtype, getattr(interval, name).shape) == (np.int64, (1,)), name
    for name in SUMS:
        assert (getattr(interval, name).dtype, getattr(interval, name).shape) == (np.float64, (1,)), name
    for moment in (interval.start_seconds, interval.duration_seconds, snapshot.time_seconds):
        assert moment.dtype == np.float64
        assert moment.shape == ()
    assert interval.requests.late.shape == (1, len(THRESHOLDS))
    for name in ("wanted", "starting", "ready", "draining"):
        assert (getattr(snapshot, name).dtype, getattr(snapshot, name).shape) == (np.int64, (1,)), name
    assert build(load(30.0)).snapshot().time_seconds.dtype == np.float64


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 30), min_size=20, max_size=20), st.integers(0, 2**32))
def test_policies_meet_the_same_arrivals_and_service_times(replicas: list[int], seed: int) -> None:
    trace = load(40.0, 90.0, 20.0, *([0.0] * 27))
    fixed, moving = build(trace, seed, min_replicas=5, max_replicas=5), build(trace, seed)
    work = []
    for cluster, counts in ((fixed, [5] * 20), (moving, replicas)):
        intervals = []
        for count in counts:
            ask(cluster, count)
            intervals.append(cluster.advance(15.0))
        ask(cluster, 30)
        intervals.append(cluster.advance(1500.0))
        assert sum(int(each.failed[0]) for each in intervals) == 0
        assert int(intervals[-1].waiting[0]) == 0
        work.append(
            (
                [int(each.offered[0]) for each in intervals],
                sum(one(each.busy_slot_seconds) for each in intervals),
            )
        )
    assert work[0][0] == work[1][0]
    assert work[0][1] == pytest.approx(work[1][1], rel=1e-9)


# --- pods -------------------------------------------------------------------------------------


def counts(cluster: Cluster) -> tuple[int, int, int, int]:
    shot = cluster.snapshot()
    return tuple(int(getattr(shot, name)[0]) for name in ("wanted", "starting", "ready", "draining"))  # type: ignore[return-value]


def test_the_start_is_staffed_for_the_first_minute() -> None:
    """a = 100/s x 0.2 s = 20, ceil(20 + 2 sqrt(20)) = 29 slots, 8 pods of 4."""
    assert counts(build(load(100.0, 500.0))) == (8, 0, 8, 0)
    assert counts(build(load(0.0, 500.0))) == (1, 0, 1, 0)
    assert counts(build(load(0.0, 500.0), min_replicas=0)) == (0, 0, 0, 0)
    assert counts(build(load(100.0), max_replicas=3)) == (3, 0, 3, 0)
    assert counts(build(load(50.0, 150.0, 900.0, bin_seconds=30.0))) == (8, 0, 8, 0)


def test_start_up_times_follow_their_percentiles() -> None:
    """Of 2,000 pods asked for at once, as many are ready at each percentile as the law says."""
    total = 2000
    cluster = build(load(*([0.0] * 5)), max_replicas=total, min_replicas=0)
    ask(cluster, total)
    seen: list[int] = [0]
    for _ in range(120):
        cluster.advance(1.0)
        seen.append(counts(cluster)[2])
    sigma = math.log(30 / 10) / 1.6448536269514722
    for second in (5, 10, 20, 30, 60):
        probability = float(stats.lognorm.cdf(second, sigma, scale=10.0))
        z = (seen[second] - total * probability) / math.sqrt(total * probability * (1 - probability))
        assert abs(z) < 3.9, (second, seen[second] / total, probability)
    assert float(stats.lognorm.cdf(30.0, sigma, scale=10.0)) == pytest.approx(0.95)


def test_pods_pend_for_their_share_of_the_start() -> None:
    start_up = {"p50_seconds": 20, "p95_seconds": 20, "pending_share": 0.5}
    cluster = build(load(0.0, 0.0), start_up=start_up)
    ask(cluster, 3)
    for end, ready, pending in ((9.5, 1, 2), (10.5, 1, 0), (19.5, 1, 0), (20.5, 3, 0)):
        cluster.advance(end - cluster.now_seconds)
        assert counts(cluster) == (3, 3 - ready, ready, 0)
        assert cluster._running.pods.counts[0] == pending


def test_a_step_is_half_open() -> None:
    """Pods start in exactly 1 s; that moment belongs to the next step, so does a pod's creation."""
    cluster = build(load(0.0, 0.0), start_up={"p50_seconds": 1, "p95_seconds": 1, "pending_share": 0.5})
    ask(cluster, 2)
    assert int(cluster.advance(1.0).pods_started[0]) == 1
    assert counts(cluster) == (2, 1, 1, 0)
    interval = cluster.advance(0.5)
    assert counts(cluster) == (2, 0, 2, 0)
    assert one(interval.serving_slot_seconds) == pytest.approx(2 * SLOTS * 0.5)
    ask(cluster, 5)
    ask(cluster, 4)
    assert int(cluster.advance(1.0).pods_started[0]) == 3
    assert int(cluster.advance(1.0).pods_started[0]) == 0


def test_ready_pods_do_not_serve_before_they_are_ready() -> None:
    start_up = {"p50_seconds": 16, "p95_seconds": 16}
    cluster = build(load(20.0, 20.0), start_up=start_up, min_replicas=0)
    ask(cluster, 0)
    cluster.advance(31.0)
    ask(cluster, 4)
    assert int(cluster.advance(16.0).started[0]) == 0
    assert int(cluster.advance(1.0).started[0]) > 0


def test_wanted_is_starting_and_ready() -> None:
    cluster = build(load(*([20.0] * 10)))
    rng = np.random.default_rng(3)
    for _ in range(60):
        replicas = int(rng.integers(0, 20))
        ask(cluster, replicas)
        for _ in range(2):
            wanted, starting, ready, draining = counts(cluster)
            assert wanted == replicas == starting + ready
            groups = cluster.snapshot().pods["cpu"]
            alive = sum(
                int(group.count[0])
                for group in (groups.counted, groups.unready, groups.missing, groups.ignored)
            )
            assert alive == starting + ready + draining
            assert int(groups.ignored.count[0]) == draining
            cluster.advance(5.0)


def test_scale_down_takes_pending_then_not_ready_then_the_newest_ready() -> None:
    pods = Pods(np.array([500, 500]), np.array([512, 512]))
    for _ in range(3):
        pods.add(1, 8.0, 500, 512)
    created = {"old": 0.0, "young": 1.0, "late": 2.0, "run1": 3.0, "run2": 4.0, "pend1": 5.0, "pend2": 6.0}
    rows = {name: pods.add(0, at, 500, 512) for name, at in (created | {"drain": 7.0}).items()}
    for name, ready in (("old", 90.0), ("young", 50.0), ("late", 70.0)):
        pods.phase[rows[name]], pods.ready[rows[name]] = READY, ready
    pods.phase[[rows["run1"], rows["run2"]]] = STARTING
    pods.phase[rows["drain"]] = DRAINING
    names = {row: name for name, row in rows.items()}
    order = [names[row] for row in pods.to_remove(0, 99)]
    assert order == ["pend2", "pend1", "run2", "run1", "old", "late", "young"]
    assert [names[row] for row in pods.to_remove(0, 2)] == ["pend2", "pend1"]


def test_scale_down_of_pods_that_are_not_ready_costs_no_capacity() -> None:
    cluster = build(
        load(0.0, 0.0, 0.0), start_up={"p50_seconds": 20, "p95_seconds": 20, "pending_share": 0.5}
    )
    ask(cluster, 3)
    cluster.advance(15.0)  # two run and are not ready
    ask(cluster, 5)
    cluster.advance(1.0)  # and two are pending
    ask(cluster, 3)
    assert counts(cluster) == (3, 2, 1, 0)
    cluster.advance(5.0)
    assert counts(cluster) == (3, 0, 3, 0)  # the running ones stayed
    ask(cluster, 5)
    cluster.advance(11.0)
    ask(cluster, 1)
    assert counts(cluster) == (1, 0, 1, 2)


def test_draining_pods_finish_their_requests() -> None:
    cluster = build(
        load(60.0, 0.0), service_time={"law": "deterministic", "mean_seconds": 5.0}, max_replicas=5
    )
    before = cluster.advance(30.0)
    busy = int(before.in_service[0])
    assert busy == 5 * SLOTS
    ask(cluster, 0)
    assert counts(cluster) == (0, 0, 0, 5)
    after = cluster.advance(5.5)
    assert int(after.served[0]) == busy
    assert int(after.failed[0]) == 0
    assert int(after.started[0]) == 0
    assert 0.0 < one(after.busy_slot_seconds) <= one(after.serving_slot_seconds)
    assert 0 < one(after.busy_slot_seconds) <= one(after.pod_seconds) * SLOTS
    assert counts(cluster) == (0, 0, 0, 0)


@pytest.mark.parametrize("grace", [0.0, 2.0])
def test_what_outlives_the_grace_fails_and_is_late(grace: float) -> None:
    cluster = build(
        load(20.0, 0.0),
        service_time={"law": "deterministic", "mean_seconds": 500.0},
        max_replicas=5,
        drain_grace_seconds=grace,
    )
    before = cluster.advance(0.5)
    busy = int(before.in_service[0])
    assert busy > 0
    ask(cluster, 0)
    after = cluster.advance(grace + 0.25)
    assert int(after.failed[0]) == busy
    assert int(after.served[0]) == 0
    assert int(after.in_service[0]) == 0
    assert (before.requests.late + after.requests.late)[0, 0] >= busy
    assert (before.requests.late + after.requests.late)[0, 2] >= busy  # long before any is 500 s old
    assert one(after.pod_seconds) == pytest.approx(5 * grace)


def test_a_pod_costs_from_its_creation_until_it_is_gone() -> None:
    law = {"law": "deterministic", "mean_seconds": 1e-3}
    start_up = {"p50_seconds": 20, "p95_seconds": 20}
    cluster = build(load(0.0, 0.0, 0.0), service_time=law, start_up=start_up)
    price = VCPU * USD_PER_VCPU_HOUR / 3600
    assert one(cluster.advance(10.0).cost_usd) == pytest.approx(10 * price)
    ask(cluster, 4)
    interval = cluster.advance(10.0)  # three start, and cost
    assert one(interval.pod_seconds) == pytest.approx(40.0)
    assert one(interval.serving_slot_seconds) == pytest.approx(10.0 * SLOTS)
    ask(cluster, 2)  # two of them never get ready
    assert one(cluster.advance(10.0).cost_usd) == pytest.approx(20 * price)
    cluster.advance(10.0)
    ask(cluster, 0)  # idle pods are gone at once
    assert one(cluster.advance(10.0).cost_usd) == pytest.approx(0.0, abs=1e-9)


def test_a_pod_that_is_removed_never_comes_back() -> None:
    cluster = build(load(*([0.0] * 5)))
    for replicas in (20, 0, 20, 5, 30, 0):
        ask(cluster, replicas)
        assert counts(cluster)[0] == replicas
    cluster.advance(240.0)
    assert counts(cluster) == (0, 0, 0, 0)


@pytest.mark.parametrize("seconds", [121.0, math.inf, math.nan, 0.0, -15.0])
def test_time_beyond_the_trace_is_refused(seconds: float) -> None:
    cluster = build(load(1.0, 1.0))
    with pytest.raises(InputError, match=r"load: cannot advance from 0 s by .* s; the trace ends at 120 s"):
        cluster.advance(seconds)
    cluster.advance(120.0)
    with pytest.raises(InputError, match="from 120 s by 15 s"):
        cluster.advance(15.0)


@pytest.mark.parametrize("replicas", [[-1], [1, 2], []])
def test_a_wrong_desired_is_refused(replicas: list[int]) -> None:
    cluster = build(load(1.0))
    with pytest.raises(ValueError, match="replicas is .* must be 1 number.s. of at least 0"):
        cluster.apply(Desired(np.array(replicas, dtype=np.int64)))
    assert counts(cluster) == (1, 0, 1, 0)
