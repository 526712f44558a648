"""Nodes' lives on clusters made by hand: when they come and go, what they cost, what becomes of their pods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hand_made import Story, always, group, scaler, service
from scipy import stats

from simulator.node_autoscaler import left_over
from simulator.nodes import BOOTING, GONE, READY

TWO = service(min_replicas=2)
"""Two pods that fill the first node."""


def test_a_pod_without_room_gets_a_node_at_the_next_scan() -> None:
    story = Story(TWO, groups=(group(),), autoscaler=scaler()).until(5.0).ask(3).until(60.0)
    assert story.times("node launched") == [0.0, 10.0]
    assert story.times("node ready") == [0.0, 40.0]
    assert story.times("pod bound") == [40.0]
    assert story.times("pod ready", pod=2) == [42.0]


def test_no_second_node_is_launched_for_pods_that_one_on_its_way_will_take() -> None:
    story = (
        Story(TWO, groups=(group(),), autoscaler=scaler()).until(5.0).ask(4).until(25.0).ask(5).until(100.0)
    )
    assert story.times("node launched") == [0.0, 10.0, 30.0]


@pytest.mark.parametrize(("rules", "drained"), [({}, 80.0), ({"after_add_seconds": 100.0}, 110.0)])
def test_a_node_goes_at_the_first_scan_after_it_has_not_been_needed_for_long(
    rules: dict[str, Any], drained: float
) -> None:
    """Launched at 10; from 55 on one pod on each of two nodes, which the scan at 60 sees."""
    story = Story(TWO, groups=(group(),), autoscaler=scaler(**rules)).until(5.0).ask(3).until(55.0).ask(2)
    story.until(drained + 30.0)
    assert story.times("node draining", node=1) == [drained]
    assert story.times("pod created", pod=3) == [drained]
    assert story.times("pod ready", pod=3) == [drained + 2]
    assert story.times("pod gone", pod=2) == [drained + 1]
    assert story.times("node gone") == [drained + 7]  # it is looked at each second, after the pods
    assert story.cluster.snapshot().ready.tolist() == [2]


def test_empty_nodes_go_together_and_others_one_by_one() -> None:
    groups = (group(initial_nodes=5),)
    empty = Story(service(), groups=groups, autoscaler=scaler(max_removed_at_once=3)).until(60.0)
    assert empty.times("node draining") == [30.0] * 3 + [40.0] * 2
    ones = Story(
        service(min_replicas=5, vcpu_per_pod=0.2, memory={"request_gib": 0.1}),
        groups=(group(initial_nodes=3),),
        autoscaler=scaler(),
    ).until(60.0)
    assert ones.times("node draining") == [30.0, 40.0]


def test_fewest_nodes_are_kept_and_held() -> None:
    fault = {"kind": "node_loss", "at_seconds": 31.0}
    story = Story(
        service(), groups=(group(min_nodes=1, initial_nodes=2),), faults=(fault,), autoscaler=scaler()
    ).until(100.0)
    assert story.times("node draining") == [30.0]
    assert story.times("node launched") == [0.0, 0.0, 40.0]


def test_a_node_that_is_needed_again_starts_anew() -> None:
    """Unneeded since 10, but full at 20; empty again from 25 on, which the scan at 30 sees."""
    story = Story(service(), groups=(group(),), autoscaler=scaler()).until(15.0).ask(2).until(25.0).ask(0)
    assert story.until(80.0).times("node draining") == [50.0]


def test_consolidation_empties_a_node_above_the_threshold_where_that_pays() -> None:
    """Three pods of 0.7 vCPU, 2 + 1 on two nodes of 2.1 vCPU: either node's fit on the other."""
    pods = service(vcpu_per_pod=0.7, min_replicas=3)
    groups = (group(vcpu=2.1, initial_nodes=2),)
    for usd, drained in ((0.35, [30.0]), (0.37, [])):
        rule = {"usd_per_moved_pod": usd, "payback_seconds": 3600.0}
        rules = scaler(utilization_threshold=0.1, consolidation=rule)
        story = Story(pods, groups=groups, autoscaler=rules).until(60.0)
        assert story.times("node draining") == drained
    assert (
        not Story(pods, groups=groups, autoscaler=scaler(utilization_threshold=0.1))
        .until(60.0)
        .times("node draining")
    )


def test_a_pod_that_waits_in_vain_keeps_no_node_of_others() -> None:
    groups = (group("full", region="here", max_nodes=1), group("idle", region="there", initial_nodes=2))
    pods = [
        service(name="one", region="here", min_replicas=3),
        service(name="two", region="there", min_replicas=1),
    ]
    story = Story(*pods, groups=groups, autoscaler=scaler(), seconds=200.0).until(100.0)
    assert story.cluster.snapshot().starting.tolist() == [1, 0]
    assert story.times("node draining") == [30.0]


def test_no_node_goes_while_one_is_on_its_way_for_a_pod_that_waits() -> None:
    """An empty node there has not been needed since 10; a node here is launched at 10 and ready at 70."""
    groups = (
        group("short", region="here", boot=always(60.0)),
        group("idle", region="there", initial_nodes=2),
    )
    pods = [
        service(name="one", region="here", min_replicas=2),
        service(name="two", region="there", min_replicas=1),
    ]
    story = Story(*pods, groups=groups, autoscaler=scaler(), seconds=200.0).until(5.0).ask(3, 1).until(100.0)
    assert story.times("node launched", detail="short") == [0.0, 10.0]
    assert story.times("node draining") == [70.0]


def test_whether_a_node_is_needed_is_seen_while_others_are_launched_too() -> None:
    """Not needed at 10, full from 15 on while nodes are launched elsewhere at 20 and 30, not needed again at 40."""
    groups = (group("short", region="here"), group("idle", region="there", min_nodes=1, initial_nodes=2))
    pods = [
        service(name="one", region="here", min_replicas=2),
        service(name="two", region="there", min_replicas=2),
    ]
    story = Story(*pods, groups=groups, autoscaler=scaler(), seconds=200.0).until(5.0).ask(2, 1).until(15.0)
    story.ask(4, 4).until(25.0).ask(6, 4).until(35.0).ask(6, 1).until(55.0)
    assert story.times("node launched", detail="short") == [0.0, 20.0, 30.0]
    assert story.times("node draining") == []
    assert story.until(100.0).times("node draining") == [60.0]


@pytest.mark.parametrize(
    ("rules", "times"),
    [
        ({}, [30.0, 60.0]),
        ({"max_drains_at_once": 2}, [30.0, 30.0]),
        ({"max_removed_at_once": 1}, [30.0, 60.0]),
    ],
)
def test_a_node_that_is_being_drained_keeps_others_from_it(rules: dict[str, Any], times: list[float]) -> None:
    """Each pod works on a request that it is given 20 s more for; its node is gone 5 s later."""
    pods = service(
        vcpu_per_pod=0.2,
        memory={"request_gib": 0.1},
        min_replicas=3,
        max_replicas=3,
        service_time={"law": "deterministic", "mean_seconds": 500.0},
        drain_grace_seconds=20.0,
    )
    story = Story(pods, groups=(group(initial_nodes=3),), counts=(3.0,), autoscaler=scaler(**rules))
    assert story.until(100.0).times("node draining") == times


def test_nodes_that_are_being_removed_count_among_those_that_may_be() -> None:
    groups = (group(initial_nodes=5, shutdown_seconds=25.0),)
    story = Story(service(), groups=groups, autoscaler=scaler(max_removed_at_once=3)).until(100.0)
    assert story.times("node draining") == [30.0] * 3 + [60.0] * 2


def test_launches_that_fail_later_make_the_rest_longer_but_not_twice_as_long() -> None:
    """Launched at 10 and 30, given up at 40 and 60: rests until 80, not 60 or 100."""
    rules = scaler(max_provision_seconds=30.0, back_off_seconds=20.0)
    story = (
        Story(TWO, groups=(group(boot=always(100.0)),), autoscaler=rules).until(5.0).ask(3).until(25.0).ask(5)
    )
    story.until(85.0)
    assert story.times("launch given up") == [40.0, 60.0]
    assert story.times("node launched")[1:] == [10.0, 30.0, 80.0, 80.0]


def test_pods_that_fit_nowhere_keep_their_node() -> None:
    story = Story(
        service(min_replicas=3, vcpu_per_pod=1.5),
        groups=(group(initial_nodes=3),),
        autoscaler=scaler(utilization_threshold=1.0),
    ).until(100.0)
    assert story.times("node draining") == []


def test_a_launch_is_given_up_and_the_group_rests_twice_as_long_each_time() -> None:
    rules = scaler(max_provision_seconds=30.0, back_off_seconds=20.0, back_off_cap_seconds=60.0)
    story = Story(TWO, groups=(group(boot=always(100.0)),), autoscaler=rules).until(5.0).ask(3).until(320.0)
    assert story.times("launch given up") == [40.0, 90.0, 160.0, 250.0]
    assert story.times("node launched")[1:] == [10.0, 60.0, 130.0, 220.0, 310.0]


def test_launches_that_fail_together_count_once() -> None:
    """Refused 5 s after they were asked for; rest 20 s, then 40 s."""
    rules = scaler(back_off_seconds=20.0)
    story = Story(
        TWO,
        groups=(group(),),
        faults=({"kind": "stock_out", "at_seconds": 1.0, "group": "g", "duration_seconds": 80.0},),
        autoscaler=rules,
    )
    story.until(5.0).ask(6).until(200.0)
    assert story.times("launch refused") == [10.0, 10.0, 40.0, 40.0]
    assert story.times("node launched")[1:] == [90.0, 90.0]


def test_a_launch_that_the_cloud_has_not_answered_is_not_asked_for_again() -> None:
    """The loss leaves nothing: the scan at 4 asks for the fewest nodes, which have room for the pod that waits."""
    loss = {
        "kind": "zone_loss",
        "at_seconds": 3.0,
        "duration_seconds": 300.0,
        "region": "region",
        "zone": "a",
    }
    story = Story(
        service(min_replicas=1),
        groups=(group(min_nodes=1),),
        faults=(loss,),
        autoscaler=scaler(scan_seconds=2.0),
        detection_seconds=0.0,
    )
    assert story.until(100.0).times("launch refused") == [4.0]


def test_another_group_is_taken_while_one_rests() -> None:
    groups = (group("cheap"), group("dear", usd_per_hour=1.0, initial_nodes=0))
    out = {"kind": "stock_out", "at_seconds": 1.0, "group": "cheap", "duration_seconds": 500.0}
    story = Story(TWO, groups=groups, faults=(out,), autoscaler=scaler(expander="price"))
    story.until(5.0).ask(3).until(100.0)
    assert story.times("launch refused") == [10.0]
    assert story.times("node launched", detail="dear") == [20.0]


def test_a_spot_node_is_emptied_at_its_notice_and_lost_after_it() -> None:
    spot = {"interruptions_per_hour": 60.0, "notice_seconds": 20.0}
    story = Story(TWO, groups=(group(spot=spot, initial_nodes=3),), autoscaler=scaler()).until(600.0)
    warned = [event for event in story.events if event.what == "node warned"]
    assert len(warned) > 3
    for event in warned:
        then = round(event.time_seconds, 4)
        gone = story.times("node gone", node=event.node)
        assert gone in ([round(then + 20, 4)], [])
        assert len(story.times("pod draining", node=event.node)) == story.times(
            "pod draining", node=event.node
        ).count(then)
    assert not story.times("pod lost")
    created, removed = story.times("pod created"), story.times("pod draining")
    assert set(removed) <= set(created)


def test_interruptions_are_poisson_over_the_time_that_spot_nodes_serve() -> None:
    spot = {"interruptions_per_hour": 60.0, "notice_seconds": 0.0}
    groups = (group(spot=spot, min_nodes=20, initial_nodes=20, max_nodes=40, boot=always(1.0)),)
    story = Story(service(), groups=groups, autoscaler=scaler()).until(2000.0)
    nodes = story.cluster._running.nodes
    served = np.minimum(nodes.gone, 2000.0)[: nodes.count] - np.minimum(nodes.ready, 2000.0)[: nodes.count]
    low, high = stats.poisson.interval(0.999, served.sum() / 60.0)
    assert low <= len(story.times("node warned")) <= high


def test_a_node_costs_a_minute_at_least_and_then_by_the_second() -> None:
    """0.0001 USD/s; the minute is due at the launch. The second node is there for 25 s, the third for 105 s."""
    story = Story(service(), groups=(group(boot=always(5.0)),)).until(10.0).ask(0, nodes=[2]).until(30.0)
    assert story.intervals[0].total_usd == pytest.approx(1e-4 * 60)
    assert story.last("total_usd") == pytest.approx(1e-4 * 60)
    story.ask(0, nodes=[1]).until(60.0)
    assert story.times("node gone") == [35.0]
    assert story.last("total_usd") == 0.0
    story.ask(0, nodes=[2]).until(160.0).ask(0, nodes=[1]).until(200.0)
    assert story.times("node gone") == [35.0, 165.0]
    assert story.total("total_usd") == pytest.approx(1e-4 * (200 + 60 + 105))
    assert story.cluster._running.nodes.seconds(200.0) == pytest.approx(200 + 25 + 105)


def test_nodes_on_their_way_go_first_then_the_emptiest() -> None:
    story = Story(TWO, groups=(group(initial_nodes=2),)).until(1.0)
    on = story.cluster._running.pods.node[:2].tolist()
    assert on == [0, 1]
    story.ask(1).until(5.0).ask(1, nodes=[4]).until(10.0).ask(1, nodes=[2]).until(11.0)
    assert story.times("node gone", node=2) == story.times("node gone", node=3) == [10.0]
    empty = 1 - int(story.cluster._running.pods.node[story.cluster._running.pods.rows(0)][0])
    story.ask(1, nodes=[1]).until(20.0)
    assert story.times("node draining", node=empty) == [11.0]


def test_a_lost_zone_takes_its_nodes_and_gives_none() -> None:
    groups = (group("a", initial_nodes=1, zone="a"), group("b", initial_nodes=1, zone="b"))
    loss = {"kind": "zone_loss", "at_seconds": 20.0, "duration_seconds": 100.0, "zone": "a"}
    story = Story(
        service(min_replicas=4), groups=groups, faults=(loss,), autoscaler=scaler(), detection_seconds=7.0
    ).until(26.0)
    assert story.times("pod lost") == [20.0, 20.0]
    assert story.cluster.snapshot().ready.tolist() == [4]  # not noticed yet
    story.until(200.0)
    assert story.times("node gone") == [20.0]
    assert story.times("pod gone", detail="node lost") == [27.0, 27.0]
    assert story.times("pod created") == [27.0, 27.0]
    assert {event.time_seconds for event in story.events if event.what == "launch refused"} <= {30.0}
    assert story.cluster.snapshot().ready.tolist() == [4]
    assert story.cluster._running.nodes.count_by_group(READY).tolist() == [0, 2]


def test_a_lost_region_takes_all_of_its_zones() -> None:
    groups = tuple(
        group(f"{region}{zone}", region=region, zone=zone)
        for region in ("here", "there")
        for zone in ("a", "b")
    )
    loss = {"kind": "region_loss", "at_seconds": 20.0, "duration_seconds": 100.0, "region": "here"}
    story = Story(service(), groups=groups, faults=(loss,)).until(30.0)
    assert story.cluster._running.nodes.count_by_group(GONE).tolist() == [1, 1, 0, 0]
    story.ask(0, nodes=[1, 1, 1, 1]).until(40.0)
    assert story.times("launch refused") == [30.0, 30.0]


@pytest.mark.parametrize("rules", [None, scaler()])
def test_a_size_that_was_asked_for_is_held(rules: Any) -> None:
    """A node is lost at 21; the loop launches another at 30, though no pod needs it."""
    loss = {"kind": "node_loss", "at_seconds": 21.0}
    story = Story(service(), groups=(group(),), faults=(loss,), autoscaler=rules).until(5.0)
    story.ask(0, nodes=[3]).until(300.0)
    assert story.times("node launched") == [0.0, 5.0, 5.0, 30.0]
    assert story.cluster._running.nodes.count_by_group(READY).tolist() == [3]
    assert story.times("node draining") == []


def test_a_spot_node_that_is_taken_back_is_replaced_where_its_group_has_a_size() -> None:
    spot = {"interruptions_per_hour": 20.0, "notice_seconds": 20.0}
    story = Story(service(), groups=(group(spot=spot),)).until(5.0).ask(0, nodes=[2])
    counts = [
        story.until(at).cluster._running.nodes.count_by_group(BOOTING, READY)[0] for at in range(9, 2000, 10)
    ]
    assert len(story.times("node warned")) > 5
    assert len(story.times("node launched")) == 2 + len(story.times("node warned"))
    assert min(counts) >= 0
    assert np.mean(counts) > 1.8


def test_without_an_autoscaler_nothing_is_held_that_was_not_asked_for() -> None:
    loss = {"kind": "node_loss", "at_seconds": 21.0}
    story = Story(service(), groups=(group(min_nodes=1),), faults=(loss,)).until(300.0)
    assert story.times("node launched") == [0.0]


def test_launches_that_were_asked_for_and_refused_rest_as_any_other() -> None:
    """Asked for each second; refused at 5 and 20, rests of 10 s from 10 on and of 20 s from 25 on, then it has one."""
    out = {"kind": "stock_out", "at_seconds": 1.0, "group": "g", "duration_seconds": 30.0}
    rules = scaler(back_off_seconds=10.0)
    story = Story(service(), groups=(group(),), faults=(out,), autoscaler=rules).until(5.0)
    for second in range(6, 100):
        story.ask(0, nodes=[3]).until(float(second))
    assert story.times("launch refused") == [5.0, 5.0, 20.0, 20.0]
    assert story.times("node launched") == [0.0, 45.0, 45.0]


def test_no_pod_goes_to_the_room_on_a_node_that_is_dying() -> None:
    """Draining pods of a dying node end at once, and one that waits must not take their room."""
    work = {"law": "deterministic", "mean_seconds": 20.0}
    pods = service(min_replicas=2, max_replicas=2, service_time=work)
    loss = {"kind": "node_loss", "at_seconds": 6.0}
    story = Story(pods, groups=(group(),), faults=(loss,), counts=(10.0,), detection_seconds=5.0)
    story.until(5.0).ask(0).ask(2).until(30.0)
    assert story.times("pod draining") == [5.0, 5.0]
    assert story.times("pod gone") == [6.0, 6.0]
    assert story.times("pod bound") == []


def test_room_is_for_pods_of_the_region_only() -> None:
    from simulator.node_autoscaler import Demand

    request = np.array([1000, 1024, 0, 1])
    free = np.array([[2000, 4096, 0, 110], [2000, 4096, 0, 110]])
    regions = np.array(["here", "there"])
    rest, room = left_over([Demand(3, request, "there"), Demand(1, request, None)], free, regions)
    assert [(demand.count, demand.region) for demand in rest] == [(1, "there")]
    assert room[:, 0].tolist() == [1000, 0]
