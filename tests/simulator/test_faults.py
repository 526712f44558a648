"""Faults on clusters made by hand: when they are, what they do, and that they are the same for all policies."""

from __future__ import annotations

import numpy as np
import pytest
from hand_made import Story, always, group, scaler, service
from scipy import stats

from simulator.faults import FaultLabel
from simulator.plant import Snapshot

PIPELINE = {"scrape_seconds": 5.0, "window_seconds": 5.0, "lag_seconds": 5.0, "first_scrape_seconds": 0.0}


def response_seconds(story: Story) -> float:
    requests = story.intervals[-1].requests
    return float(requests.response_seconds.sum() / requests.served.sum())


def test_a_fault_is_there_from_its_beginning_to_its_end() -> None:
    slow = {"kind": "slow_start", "at_seconds": 10.0, "duration_seconds": 20.0, "service": "web"}
    kill = {"kind": "pod_kill", "at_seconds": 15.0}
    story = Story(service(), faults=(slow, kill)).until(20.0)
    assert story.cluster.faults == (
        FaultLabel("slow_start", 10.0, np.inf, "web"),
        FaultLabel("pod_kill", 15.0, 15.0, ""),
    )
    story.until(40.0)
    assert story.cluster.faults[0].end_seconds == 30.0


@pytest.mark.parametrize(("duration", "mean_seconds"), [(0.0, 10.0), (10.0, 20.0)])
def test_a_hazard_rate_is_that_of_a_fault_that_is_not_there(duration: float, mean_seconds: float) -> None:
    """Once in 10 s on average, exponential, after the end of the one before."""
    kind = "slow_start" if duration else "pod_kill"
    fault = {"kind": kind, "per_hour": 360.0, "duration_seconds": duration}
    story = Story(service(), faults=(fault,), seconds=20_000.0).until(20_000.0)
    starts = np.array([label.start_seconds for label in story.cluster.faults])
    if not duration:
        low, high = stats.poisson.interval(0.999, 20_000.0 / mean_seconds)
        assert low <= len(starts) <= high
    ends = np.array([label.end_seconds for label in story.cluster.faults])
    waits = starts - np.concatenate([[0.0], ends[:-1]])
    assert stats.kstest(waits, stats.expon(scale=10.0).cdf).pvalue > 0.001


def test_two_policies_meet_the_same_faults_and_another_fault_changes_none() -> None:
    faults = (
        {"kind": "pod_kill", "per_hour": 200.0},
        {"kind": "node_loss", "per_hour": 100.0},
        {"kind": "latency", "per_hour": 100.0, "duration_seconds": 5.0},
    )
    stories = [
        Story(service(min_replicas=1), groups=(group(),), faults=given, autoscaler=scaler(), seed=5)
        for given in (faults, faults, (*faults, {"kind": "api_refusal", "per_hour": 50.0}))
    ]
    stories[1].until(100.0).ask(5).until(300.0).ask(0)
    labels = [story.until(1000.0).cluster.faults for story in stories]
    assert len(labels[0]) > 50
    assert labels[0] == labels[1]
    assert labels[0] == tuple(label for label in labels[2] if label.kind != "api_refusal")


@pytest.mark.parametrize("hit", [None, "web", "other"])
def test_a_latency_fault_adds_its_delay_to_each_answer(hit: str | None) -> None:
    fault = {
        "kind": "latency",
        "at_seconds": 20.0,
        "duration_seconds": 20.0,
        "delay_seconds": 0.25,
        "service": hit,
    }
    pods = [service(name=name, min_replicas=2, slots_per_pod=4) for name in ("web", "other")]
    story = Story(*pods, faults=(fault,), counts=(200.0,) * 3, seconds=60.0).until(18.0)
    assert response_seconds(story) == pytest.approx(0.1)
    story.until(21.0).until(39.0)
    served = story.intervals[-1].requests.served
    means = story.intervals[-1].requests.response_seconds / served
    for place, name in enumerate(("web", "other")):
        assert means[place] == pytest.approx(0.35 if hit in {None, name} else 0.1)
    story.until(41.0).until(58.0)
    assert response_seconds(story) == pytest.approx(0.1)


def test_two_latency_faults_add_up_and_end_one_by_one() -> None:
    faults = [
        {"kind": "latency", "at_seconds": at, "duration_seconds": 40.0, "delay_seconds": 0.25}
        for at in (0.0, 20.0)
    ]
    story = Story(service(min_replicas=4), faults=tuple(faults), counts=(20.0,) * 4, seconds=80.0)
    means = []
    for begin in (2.0, 22.0, 42.0, 62.0):
        story.until(begin).until(begin + 16.0)
        means.append(response_seconds(story))
    assert means == pytest.approx([0.35, 0.6, 0.35, 0.1])


def test_a_zones_latency_is_added_to_answers_of_its_pods() -> None:
    groups = (group(latency_seconds=0.125),)
    story = Story(service(min_replicas=2), groups=groups, counts=(20.0,)).until(18.0)
    assert response_seconds(story) == pytest.approx(0.225)


def test_a_refused_change_changes_nothing() -> None:
    fault = {"kind": "api_refusal", "at_seconds": 10.0, "duration_seconds": 20.0}
    story = Story(service(min_replicas=2), groups=(group(),), faults=(fault,)).until(15.0)
    with pytest.raises(OSError, match="refuses the change"):
        story.ask(5, vcpu=[0.5], nodes=[3])
    now = story.cluster.snapshot()
    assert (now.wanted.tolist(), now.vcpu.tolist(), now.nodes.starting.tolist()) == ([2], [1.0], [0])
    assert story.times("change refused") == [15.0]
    assert story.until(31.0).ask(1).cluster.snapshot().wanted.tolist() == [1]


def test_calls_are_refused_with_their_probability() -> None:
    fault = {"kind": "api_refusal", "at_seconds": 0.0, "duration_seconds": 500.0, "probability": 0.3}
    story, refused = Story(service(), faults=(fault,)).until(1.0), 0
    for _ in range(1000):
        try:
            story.ask(0)
        except OSError:
            refused += 1
    low, high = stats.binom.interval(0.999, 1000, 0.3)
    assert low <= refused <= high


def looks(fault: dict[str, object], *seconds: float) -> list[Snapshot]:
    """The service's rate is 1/s in the first 20 s, 2/s in the next and so on."""
    story = Story(
        service(min_replicas=4), counts=(20.0, 40.0, 60.0, 80.0, 100.0), faults=(fault,), metrics=PIPELINE
    )
    return [story.until(at).cluster.snapshot() for at in seconds]


def test_in_an_outage_there_are_no_metrics_and_their_age_grows() -> None:
    fault = {"kind": "metric_outage", "at_seconds": 30.0, "duration_seconds": 20.0}
    before, early, late, after, later = looks(fault, 26.0, 31.0, 49.0, 51.0, 76.0)
    assert float(before.rate.value[0]) == pytest.approx(1.0)
    assert [float(each.rate.age_seconds[0]) for each in (before, early, late)] == [6.0, 11.0, 29.0]
    for each in (early, late):
        for metric in (each.rate, each.cpu, each.queue, each.latency_p95):
            assert np.isnan(metric.value).all()
    assert float(after.rate.value[0]) == pytest.approx(2.0)
    assert float(after.rate.age_seconds[0]) == 26.0  # nothing was measured meanwhile
    assert float(later.rate.value[0]) == pytest.approx(4.0)
    assert float(later.rate.age_seconds[0]) == 6.0


@pytest.mark.parametrize("also", [(), (33.0, 38.0)])
def test_stale_metrics_stay_as_they_were_whoever_looks(also: tuple[float, ...]) -> None:
    """Frozen at 31, when the newest that could be seen was scraped at 25."""
    fault = {"kind": "metric_staleness", "at_seconds": 31.0, "duration_seconds": 30.0}
    *_, late, after = looks(fault, *also, 58.0, 62.0)
    assert float(late.rate.value[0]) == pytest.approx(2.0)
    assert float(late.rate.age_seconds[0]) == 33.0
    assert float(after.rate.value[0]) == pytest.approx(3.0)
    assert float(after.rate.age_seconds[0]) == 7.0


def test_nothing_is_shown_before_the_first_window_has_come_through() -> None:
    early, first = looks({"kind": "pod_kill", "at_seconds": 900.0}, 9.0, 11.0)
    assert np.isnan(early.rate.value).all()
    assert np.isinf(early.rate.age_seconds).all()
    assert float(first.rate.age_seconds[0]) == 6.0


def test_metrics_that_are_too_old_are_missing_with_their_age() -> None:
    story = Story(
        service(min_replicas=1),
        counts=(20.0,) * 20,
        metrics=PIPELINE | {"stale_seconds": 20.0},
        faults=({"kind": "metric_staleness", "at_seconds": 31.0, "duration_seconds": 60.0},),
    )
    seen = [story.until(at).cluster.snapshot().rate for at in (45.0, 50.0, 51.0)]
    assert [bool(np.isnan(each.value[0])) for each in seen] == [False, False, True]
    assert [float(each.age_seconds[0]) for each in seen] == [20.0, 25.0, 26.0]


def test_noise_has_mean_1_and_the_deviation_that_is_set() -> None:
    story = Story(
        service(min_replicas=4), counts=(100.0,) * 100, metrics=PIPELINE | {"noise": 0.2}, seconds=2000.0
    )
    times = np.arange(12.5, 2000.0, 5.0).tolist()
    rates = [float(story.until(at).cluster.snapshot().rate.value[0]) / 5.0 for at in times]
    count = len(rates)
    assert np.mean(rates) == pytest.approx(1.0, abs=4 * 0.2 / np.sqrt(count))
    assert np.std(rates) == pytest.approx(0.2, abs=4 * 0.2 / np.sqrt(2 * count) * 1.1)
    assert min(rates) > 0


def test_a_lost_scrape_makes_the_next_window_longer() -> None:
    story = Story(
        service(min_replicas=4),
        counts=(100.0,) * 100,
        metrics=PIPELINE | {"gap_probability": 0.5},
        seconds=2000.0,
    )
    ages = []
    for at in np.arange(52.5, 2000.0, 5.0):
        rate = story.until(float(at)).cluster.snapshot().rate
        ages.append(float(rate.age_seconds[0]))
        assert float(rate.value[0]) == pytest.approx(5.0)
    counts = np.bincount(np.rint((np.array(ages) - 7.5) / 5.0).astype(int))
    share = counts[0] / len(ages)
    low, high = stats.binom.interval(0.999, len(ages), 0.5)
    assert low <= share * len(ages) <= high


def test_a_node_group_without_stock_launches_again_when_it_is_over() -> None:
    out = {"kind": "stock_out", "at_seconds": 5.0, "group": "g", "duration_seconds": 20.0}
    rules, nodes = scaler(back_off_seconds=10.0), (group(boot=always(3.0)),)
    story = Story(service(), groups=nodes, faults=(out,), autoscaler=rules).until(10.0).ask(0, nodes=[2])
    story.until(40.0)
    assert story.times("launch refused") == [10.0]
    assert story.times("node launched") == [0.0, 30.0]


def test_launches_are_refused_with_their_probability() -> None:
    groups = (group(stock_out_probability=0.4, max_nodes=2000),)
    story = Story(service(), groups=groups).until(1.0).ask(0, nodes=[1001]).until(2.0)
    low, high = stats.binom.interval(0.999, 1000, 0.4)
    assert low <= len(story.times("launch refused")) <= high
    assert len(story.times("node launched")) == 1001 - len(story.times("launch refused"))
