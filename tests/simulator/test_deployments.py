"""Roll-outs and replicas on clusters made by hand: how many there are at each event, and of which version."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hand_made import Story, always, group, service
from scipy import stats

from simulator.events import Event
from simulator.pods import ACTIVE, READY

BAD = {"kind": "bad_release", "at_seconds": 20.0, "duration_seconds": 100.0, "error_probability": 0.3}


class Counted(Story):
    """Keeps how few were ready and how many there were at any event since ``watch``."""

    def watch(self) -> Counted:
        self.fewest, self.most = math.inf, 0
        take = self.cluster._running._journal

        def look(event: Event) -> None:
            take(event)
            counts = self.cluster._running.pods.counts
            self.fewest = min(self.fewest, int(counts[READY].sum()))
            self.most = max(self.most, int(counts[:ACTIVE].sum()))

        self.cluster._running._journal = look
        return self


def is_rolled_out(story: Story) -> bool:
    pods, deployments = story.cluster._running.pods, story.cluster._deployments
    active = pods.rows(0, ACTIVE - 1)
    wanted = int(deployments.wanted[0])
    return len(active) == wanted and (pods.revision[active] == deployments._revision[0]).all()


@pytest.mark.parametrize("wanted", [1, 2, 3, 4, 7, 10])
@pytest.mark.parametrize("surge", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("unavailable", [0.0, 0.25, 0.5])
def test_a_roll_out_keeps_within_its_bounds(wanted: int, surge: float, unavailable: float) -> None:
    rule = {"max_surge": surge, "max_unavailable": unavailable}
    story = Counted(service(min_replicas=wanted, roll_out=rule)).until(5.0)
    story.watch().ask(wanted, vcpu=[2.0]).until(100.0)
    most_away = math.floor(unavailable * wanted)
    most_more = math.ceil(surge * wanted)
    if most_away == most_more == 0:
        most_away = 1
    assert is_rolled_out(story)
    assert story.fewest >= wanted - most_away
    assert story.most <= wanted + most_more
    assert story.cluster.snapshot().ready.tolist() == [wanted]
    assert len(story.times("pod created")) == wanted


@pytest.mark.parametrize("surge", [0.0, 0.25])
def test_old_pods_that_are_not_ready_go_first(surge: float) -> None:
    rule = {"max_surge": surge, "max_unavailable": 0.25}
    story = (
        Counted(service(min_replicas=4, start_up=always(20.0), roll_out=rule)).until(5.0).ask(8).until(6.0)
    )
    story.watch().ask(8, vcpu=[2.0]).until(6.5)
    assert story.times("pod gone") == [6.0] * 2  # two of eight may be unavailable, as Kubernetes counts
    assert story.fewest == 4
    story.until(100.0)
    assert is_rolled_out(story)
    assert story.most <= 8 + math.ceil(surge * 8)


def test_what_is_wanted_may_change_during_a_roll_out() -> None:
    for second in (1, 12):
        story = (
            Story(service(min_replicas=6)).until(5.0).ask(6, vcpu=[2.0]).until(6.0).ask(second).until(60.0)
        )
        assert is_rolled_out(story)
        assert story.cluster.snapshot().ready.tolist() == [second]


def test_a_roll_out_may_be_taken_back_while_it_goes_on() -> None:
    story = (
        Story(service(min_replicas=6)).until(5.0).ask(6, vcpu=[2.0]).until(6.0).ask(6, vcpu=[1.0]).until(60.0)
    )
    assert is_rolled_out(story)
    assert story.cluster.snapshot().vcpu.tolist() == [1.0]
    kept = story.cluster._running.pods.number[story.cluster._running.pods.rows(0)]
    assert np.count_nonzero(kept < 6) == 5  # one was gone before


def test_roll_outs_on_full_nodes_wait_for_room() -> None:
    rule = {"max_surge": 0.25, "max_unavailable": 0.0}
    story = Story(service(min_replicas=2, roll_out=rule), groups=(group(),)).until(5.0).ask(2, vcpu=[0.9])
    story.until(100.0)
    assert not is_rolled_out(story)
    story.ask(2, nodes=[2]).until(200.0)
    assert is_rolled_out(story)


def test_pods_without_a_node_are_removed_first_then_those_that_start() -> None:
    story = Story(service(min_replicas=1), groups=(group(),), seconds=200.0).until(5.0).ask(3).until(6.0)
    assert story.times("pod bound") == [5.0]
    story.ask(2).until(6.5).ask(1).until(10.0)
    gone = [event.pod for event in story.events if event.what == "pod gone"]
    assert gone == [2, 1]


def test_the_pods_that_share_a_node_are_removed_first() -> None:
    story = Story(service(min_replicas=3), groups=(group(initial_nodes=2),)).until(5.0).ask(2).until(10.0)
    (event,) = [event for event in story.events if event.what == "pod gone"]
    assert story.cluster._running.nodes.requested[:2, 3].tolist() == [1, 1]
    assert event.node == 0


def test_a_killed_pod_is_replaced_at_once() -> None:
    kill = {"kind": "pod_kill", "at_seconds": 20.0, "count": 2}
    story = Story(service(min_replicas=3), faults=(kill,)).until(30.0)
    assert story.times("pod gone", detail="pod_kill") == [20.0, 20.0]
    assert story.times("pod ready")[3:] == [22.0, 22.0]
    assert story.cluster.faults[0].end_seconds == 20.0


def test_a_bad_release_fails_its_share_and_is_rolled_back() -> None:
    """All pods are of the bad version from 35 to 115, and none from 135 on."""
    pods = service(min_replicas=2, slots_per_pod=20)
    story = Story(pods, faults=(BAD,), counts=(2000.0,) * 8, seconds=160.0).until(20.0)
    assert story.last("failed") == 0
    story.until(35.0).until(115.0)
    failed = int(story.last("failed"))
    low, high = stats.binom.interval(0.999, int(story.last("served") + failed), 0.3)
    assert low <= failed <= high
    story.until(135.0).until(155.0)
    assert story.last("failed") == 0
    assert story.times("roll-out") == [20.0, 120.0]
    assert story.cluster.snapshot().ready.tolist() == [2]


def test_a_slow_release_takes_more_cpu() -> None:
    slow = BAD | {"error_probability": 0.0, "slowness": 3.0}
    story = Story(service(min_replicas=4), faults=(slow,), counts=(20.0,) * 8, seconds=160.0).until(40.0)
    story.until(110.0)
    requests = story.intervals[-1].requests
    assert requests.response_seconds.sum() / requests.served.sum() == pytest.approx(0.3)


def releases(story: Story) -> tuple[int, float]:
    now = story.cluster._deployments.release_of(0)
    return now.image, now.error_probability


def test_a_bad_release_within_another_gives_that_back() -> None:
    inner = BAD | {"at_seconds": 40.0, "duration_seconds": 20.0, "error_probability": 0.9}
    story = Story(service(min_replicas=1), faults=(BAD, inner))
    seen = [releases(story.until(seconds)) for seconds in (10.0, 30.0, 50.0, 70.0, 130.0)]
    assert seen == [(0, 0.0), (1, 0.3), (2, 0.9), (1, 0.3), (0, 0.0)]


def test_a_bad_release_that_outlasts_another_goes_back_to_what_was_good() -> None:
    later = BAD | {"at_seconds": 40.0, "duration_seconds": 200.0, "error_probability": 0.9}
    story = Story(service(min_replicas=1), faults=(BAD, later))
    seen = [releases(story.until(seconds)) for seconds in (30.0, 50.0, 130.0, 250.0)]
    assert seen == [(1, 0.3), (2, 0.9), (2, 0.9), (0, 0.0)]


def test_a_rollback_keeps_what_was_asked_for_meanwhile() -> None:
    story = Story(service(min_replicas=1), faults=(BAD,)).until(30.0).ask(1, vcpu=[2.0]).until(40.0)
    assert releases(story) == (1, 0.3)
    story.until(130.0)
    assert releases(story) == (0, 0.0)
    assert story.cluster.snapshot().vcpu.tolist() == [2.0]


def test_a_new_version_is_pulled_and_the_old_one_is_there_still() -> None:
    pods = service(min_replicas=1, image=always(5.0))
    story = Story(pods, faults=(BAD,), groups=(group(),)).until(200.0)
    assert story.times("image pulled") == [25.0]
    assert story.times("pod ready")[1:] == [27.0, 122.0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"replicas": [-1]}, "replicas"),
        ({"replicas": [1, 2]}, "replicas"),
        ({"vcpu": [0.0]}, "vcpu"),
        ({"vcpu": [np.nan]}, "vcpu"),
        ({"vcpu": [np.inf]}, "vcpu"),
        ({"memory_gib": [-1.0]}, "memory_gib"),
        ({"nodes": [-1]}, "nodes"),
        ({"nodes": [1, 1]}, "nodes"),
    ],
)
def test_what_cannot_be_asked_for_is_named_and_changes_nothing(fields: dict[str, Any], said: str) -> None:
    story = Story(service(min_replicas=1), groups=(group(),)).until(1.0)
    asked = dict(fields)
    with pytest.raises(ValueError, match=f"{said} is .* must be"):
        story.ask(*asked.pop("replicas", [2]), **asked)
    assert story.cluster.snapshot().wanted.tolist() == [1]
