"""Pods' lives on clusters made by hand: pulls, starts, crashes, leaks, warm-up, CPU, graces."""

from __future__ import annotations

import numpy as np
import pytest
from hand_made import Fields, Story, always, group, service

from simulator.pods import READY

IMAGE = always(5.0)
LEAK = {"kind": "memory_leak", "at_seconds": 0.0, "duration_seconds": 20_000.0}


def cores(story: Story) -> list[float]:
    """CPU of the ready pods, by row."""
    rows = np.flatnonzero(story.cluster._running.pods.phase == READY).tolist()
    usual = story.scenario.system.services[0].vcpu_per_pod
    traits = story.cluster._kubelet._traits
    return [traits[row].vcpu if row in traits else usual for row in rows]


def response_seconds(story: Story) -> float:
    """Mean of the last Interval's requests."""
    served = story.intervals[-1].requests.served.sum()
    return float(story.intervals[-1].requests.response_seconds.sum() / served)


def test_an_image_is_pulled_once_a_node() -> None:
    story = Story(service(image=IMAGE), groups=(group(initial_nodes=2),)).until(1.0).ask(3).until(20.0)
    assert story.times("pod bound") == [1.0, 1.0, 1.0]
    assert story.times("image pulled") == [6.0, 6.0, 6.0]
    assert story.times("pod ready") == [8.0, 8.0, 8.0]
    story.ask(4).until(30.0)
    assert story.times("image pulled", pod=3) == []
    assert story.times("pod ready", pod=3) == [22.0]


def test_images_on_a_node_are_pulled_one_after_the_other() -> None:
    pods = [service(name=name, image=IMAGE) for name in ("one", "two")]
    story = Story(*pods, groups=(group(),)).until(1.0).ask(1, 1).until(20.0)
    assert story.times("image pulled") == [6.0, 11.0]
    assert story.times("pod ready") == [8.0, 13.0]


def test_a_pod_that_is_told_to_go_leaves_the_pull_to_the_next() -> None:
    story = (
        Story(service(image=IMAGE), groups=(group(),)).until(1.0).ask(1).until(3.0).ask(0).ask(1).until(20.0)
    )
    assert story.times("pod gone") == [3.0]
    assert story.times("image pulled") == [8.0]


def test_a_stuck_pull_takes_what_was_left_of_its_time() -> None:
    stuck = {"kind": "stuck_pull", "at_seconds": 3.0, "duration_seconds": 10.0}
    story = Story(service(image=IMAGE), groups=(group(),), faults=(stuck,)).until(1.0).ask(1).until(30.0)
    assert story.times("image pulled") == [16.0]


def test_a_slow_start_is_of_the_pods_that_begin_meanwhile() -> None:
    slow = {"kind": "slow_start", "at_seconds": 10.0, "duration_seconds": 10.0, "factor": 4.0}
    story = (
        Story(service(), faults=(slow,)).until(9.0).ask(1).until(15.0).ask(2).until(21.0).ask(3).until(30.0)
    )
    assert story.times("pod ready") == [11.0, 23.0, 23.0]


def test_a_start_is_pending_for_its_share() -> None:
    story = Story(service(start_up=always(10.0) | {"pending_share": 0.7})).until(1.0).ask(1).until(30.0)
    assert story.times("pod started") == [8.0]
    assert story.times("pod ready") == [11.0]


def test_a_crash_loop_waits_twice_as_long_each_time() -> None:
    """A pod of 0.25 GiB whose limit is 1 leaks 1 GiB a housekeeping tick: it is killed at each at which it is ready."""
    pods = service(min_replicas=1, memory={"request_gib": 1.0, "base_gib": 0.25})
    story = Story(pods, faults=(LEAK | {"gib_per_hour": 360.0},), seconds=4000.0).until(2000.0)
    killed, started = story.times("container killed"), story.times("pod started")
    assert killed == [10.0, 20.0, 40.0, 70.0, 120.0, 210.0, 380.0, 690.0, 1000.0, 1310.0, 1620.0, 1930.0]
    waits = [round(then - at, 4) for at, then in zip(killed, started, strict=False)]
    assert waits == [0.0, 10.0, 20.0, 40.0, 80.0, 160.0, *[300.0] * 5]


def test_a_crash_loop_of_weeks_waits_no_longer_than_5_minutes() -> None:
    pods = service(min_replicas=1, memory={"request_gib": 1.0, "base_gib": 0.25})
    story = Story(pods, faults=(LEAK | {"gib_per_hour": 360.0},)).until(5.0)
    story.cluster._running.pods.restarts[0] = 2000
    story.cluster._kubelet._crashed[0] = 0.0
    story.until(400.0)
    assert story.times("pod started") == [310.0]


def test_ten_minutes_without_a_crash_make_the_next_restart_quick() -> None:
    """The 271st tick of 1/360 GiB is the first above 0.75 GiB; so long from one crash to the next."""
    pods = service(min_replicas=1, memory={"request_gib": 1.0, "base_gib": 0.25})
    story = Story(pods, faults=(LEAK | {"gib_per_hour": 1.0},), seconds=9000.0).until(9000.0)
    killed, started = story.times("container killed"), story.times("pod started")
    assert killed == [2710.0, 5420.0, 8130.0]
    assert started == killed


def test_a_leak_kills_at_the_tick_at_which_the_limit_is_passed() -> None:
    """0.1 GiB a tick on 0.25 GiB: 1.05 GiB after the eighth."""
    pods = service(min_replicas=2, memory={"request_gib": 1.0, "base_gib": 0.25})
    story = Story(pods, faults=(LEAK | {"gib_per_hour": 36.0},)).until(100.0)
    assert story.times("container killed") == [80.0, 80.0]
    assert {event.detail for event in story.events if event.what == "container killed"} == {"out of memory"}
    higher = service(min_replicas=2, memory={"request_gib": 1.0, "limit_gib": 2.0, "base_gib": 0.25})
    assert not Story(higher, faults=(LEAK | {"gib_per_hour": 36.0},)).until(100.0).times("container killed")


def test_requests_in_a_pod_fill_its_memory() -> None:
    """Four requests of 10 s, a slot each: 0.2 + 4 x 0.25 GiB are more than 1."""
    pods = service(
        slots_per_pod=4,
        max_replicas=1,
        service_time={"law": "deterministic", "mean_seconds": 15.0},
        memory={"request_gib": 1.0, "base_gib": 0.2, "gib_per_request": 0.25},
    )
    story = Story(pods, counts=(4.0,)).until(60.0)  # at 2.5, 7.5, 12.5 and 17.5; the first ends at 17.5
    assert story.times("container killed") == []
    story = Story(pods, counts=(8.0,)).until(60.0)
    assert story.times("container killed")[0] == 10.0
    assert story.total("failed") >= 4


def test_less_memory_than_a_pod_uses_kills_it() -> None:
    pods = service(min_replicas=1, memory={"request_gib": 1.0, "base_gib": 0.5})
    story = Story(pods).until(5.0).ask(1, memory_gib=[0.25]).until(40.0)
    assert story.times("container killed") == [10.0, 20.0]


@pytest.mark.parametrize("discipline", ["slots", "processor_sharing"])
def test_a_pod_is_slow_until_it_is_warm(discipline: str) -> None:
    """Ready at 67; warm at 87; the requests' work is 0.1 s."""
    pods = service(warm_up={"seconds": 20.0, "speed": 0.5}, max_replicas=1, discipline=discipline)
    story = Story(pods, counts=(0.0, 0.0, 0.0, 20.0, 20.0, 20.0)).until(65.0).ask(1).until(75.0).until(87.0)
    assert response_seconds(story) == pytest.approx(0.2)
    story.until(100.0)
    assert response_seconds(story) == pytest.approx(0.1)


def test_pods_of_the_beginning_are_warm() -> None:
    story = Story(service(warm_up={"seconds": 20.0, "speed": 0.5}, min_replicas=1), counts=(20.0,)).until(
        20.0
    )
    assert response_seconds(story) == pytest.approx(0.1)


def test_a_pod_that_a_roll_out_takes_at_once_does_not_warm_up() -> None:
    """Told to go as it becomes ready, because another one is released meanwhile."""
    pods = service(
        discipline="processor_sharing",
        warm_up={"seconds": 20.0, "speed": 0.5},
        roll_out={"max_surge": 1.0, "max_unavailable": 0.0},
        min_replicas=2,
    )
    story = (
        Story(pods).until(5.0).ask(3).until(6.0).ask(2, vcpu=[2.0]).until(7.0).ask(2, vcpu=[3.0]).until(100.0)
    )
    assert cores(story) == [3.0, 3.0]


@pytest.mark.parametrize("discipline", ["slots", "processor_sharing"])
def test_starved_pods_serve_their_share(discipline: str) -> None:
    """One slot and 0.1 s a request: 10/s, and 3/s on 0.3 of the CPU, of 20/s that come."""
    starvation = {"kind": "cpu_starvation", "at_seconds": 20.0, "duration_seconds": 20.0, "share": 0.3}
    pods = service(max_replicas=1, discipline=discipline)
    story = Story(pods, counts=(400.0,) * 3, faults=(starvation,)).until(10.0).until(20.0)
    assert story.last("served") == pytest.approx(100, abs=1)
    story.until(21.0).until(39.0)
    assert story.last("served") == pytest.approx(54, abs=1)
    assert story.last("cpu_seconds") == pytest.approx(18 * 0.3, abs=0.03)
    story.until(41.0).until(51.0)
    assert story.last("served") == pytest.approx(100, abs=1)


def test_pods_share_a_full_node_by_their_requests() -> None:
    """Limits of 2 vCPU and requests of 0.5 on a node of 2."""
    pods = service(
        vcpu_per_pod=0.5, vcpu_limit_per_pod=2.0, discipline="processor_sharing", memory={"request_gib": 0.5}
    )
    story = Story(pods, groups=(group(),)).until(1.0).ask(1).until(10.0)
    assert cores(story) == [2.0]
    story.ask(2).until(11.0)  # it is bound and starts
    assert cores(story) == [1.0]
    story.ask(4).until(20.0)
    assert cores(story) == [0.5] * 4
    story.ask(2).until(30.0)
    assert cores(story) == [1.0] * 2


def test_pods_of_the_beginning_share_a_node() -> None:
    pods = service(vcpu_per_pod=0.5, vcpu_limit_per_pod=2.0, discipline="processor_sharing", min_replicas=4)
    assert cores(Story(pods, groups=(group(),)).until(1.0)) == [0.5] * 4


def drain(grace: float, groups: tuple[Fields, ...]) -> Story:
    """One request of 5.9 s that comes at 5; its pod is told to go at 7."""
    work = {"law": "deterministic", "mean_seconds": 5.9}
    pods = service(max_replicas=1, drain_grace_seconds=grace, service_time=work)
    return Story(pods, groups=groups, counts=(2.0,), seconds=200.0).until(7.0).ask(0).until(14.5)


def test_a_pod_finishes_what_it_has_within_its_grace() -> None:
    """It ends at 10.9; on a node that is looked at each second, and without nodes it costs nothing from then on."""
    for groups, gone, paid in (((group(),), 11.0, 11.0), ((), 14.5, 10.9)):
        story = drain(10.0, groups)
        assert story.total("failed") == 0
        assert story.times("pod gone") == [gone]
        assert story.total("pod_seconds") == pytest.approx(paid)


@pytest.mark.parametrize("groups", [(), (group(),)])
def test_a_pod_is_killed_at_the_end_of_its_grace(groups: tuple[Fields, ...]) -> None:
    story = drain(3.0, groups)
    assert story.total("failed") == 1
    assert story.times("pod gone") == [10.0]
    assert story.total("pod_seconds") == pytest.approx(10.0)


def test_pods_are_paid_for_until_they_go_whatever_they_were_doing() -> None:
    """Created at 1 and told to go at 2.5, before it is ready; 0.036 USD an hour is 1e-5 USD a second."""
    story = Story(service()).until(1.0).ask(1).until(2.0).until(2.5).ask(0).until(10.0)
    assert story.total("pod_seconds") == pytest.approx(1.5)
    assert story.total("cost_usd") == pytest.approx(1.5e-5)


def test_pods_pay_for_what_they_request() -> None:
    """0.036 USD a vCPU-hour is 1e-5 USD a second: one pod of 1 vCPU for 10 s, then one of 3."""
    story = Story(service(min_replicas=1)).until(10.0).ask(0).until(12.0).ask(1, vcpu=[3.0]).until(32.0)
    assert story.total("pod_seconds") == pytest.approx(30.0)
    assert story.total("cost_usd") == pytest.approx(1e-5 * (10 + 3 * 20))
    assert story.total("cpu_capacity_seconds") == pytest.approx(10 + 3 * 18)


def test_a_pod_that_waits_for_a_node_and_goes_gets_none() -> None:
    story = Story(service(min_replicas=2), groups=(group(),)).until(1.0).ask(3).until(2.0).ask(2).until(3.0)
    assert story.times("pod gone", pod=2) == [2.0]
    story.ask(0).until(10.0)
    assert story.times("pod bound") == []
    assert story.cluster._running.nodes.requested[0].tolist() == [0, 0, 0, 0]


def test_a_pod_that_goes_with_its_node_is_paid_for_until_then() -> None:
    """Created at 1, lost at 4.5 while it starts; noticed at 6.5 and replaced by one that has no node."""
    loss = {"kind": "node_loss", "at_seconds": 4.5}
    pods = service(start_up=always(20.0) | {"pending_share": 0.0})
    story = (
        Story(pods, groups=(group(),), faults=(loss,), detection_seconds=2.0).until(1.0).ask(1).until(10.0)
    )
    assert story.times("pod lost") == [4.5]
    assert story.times("pod gone") == [6.5]
    assert story.total("pod_seconds") == pytest.approx(3.5 + 3.5)


def test_a_service_at_zero_wakes_for_a_request_that_waits() -> None:
    """It comes at 70 and is seen at 72; a pod is ready at 74."""
    story = Story(service(wakes=True), counts=(0.0, 0.0, 0.0, 1.0)).until(100.0)
    assert story.times("replicas wanted") == [72.0]
    assert story.times("pod ready") == [74.0]
    assert response_seconds(story) == pytest.approx(4.1)
    asleep = Story(service(), counts=(0.0, 0.0, 0.0, 1.0)).until(100.0)
    assert asleep.total("served") == 0


def test_what_is_created_and_removed_at_once_leaves_nothing() -> None:
    story = (
        Story(service(), groups=(group(),), seconds=200.0)
        .until(1.0)
        .ask(2)
        .ask(0)
        .until(1.5)
        .ask(2)
        .until(10.0)
    )
    assert story.times("pod bound") == [1.0, 1.0, 1.5, 1.5]
    assert story.cluster._running.nodes.requested[0].tolist() == [2000, 2048, 0, 2]
    assert story.times("pod ready") == [3.5, 3.5]
