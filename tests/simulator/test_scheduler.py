"""Which node a pod goes to: scores as upstream's integers, filters, zones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hand_made import Story, always, group, service
from hypothesis import given
from hypothesis import strategies as st

from simulator.nodes import DRAINING, READY, NodeGroup, Nodes
from simulator.scheduler import NOWHERE, Packing, choose_node, score

ONE = np.array([1000, 1024, 0, 1])


def rows(*values: tuple[int, int]) -> np.ndarray:
    return np.array([(milli, mib, 0, 110) for milli, mib in values])


def nodes(*groups: dict[str, Any]) -> Nodes:
    """A ready node of each group."""
    made = Nodes(tuple(NodeGroup.model_validate(each) for each in groups), 60.0)
    for place in range(len(groups)):
        made.phase[made.add(place, 0.0)] = READY
    return made


@pytest.mark.parametrize(
    ("packing", "requested", "expected"),
    [
        # ((4000 - 3000) 100 / 4000 + (10000 - 5000) 100 / 10000) / 2 and so on: upstream's own examples
        ("least_allocated", (3000, 5000), 37),
        ("least_allocated", (6000, 5000), 25),
        ("least_allocated", (0, 0), 100),
        ("least_allocated", (1, 1), 99),  # 99.975 and 99.99 are each cut to 99
        ("most_allocated", (3000, 5000), 62),
        ("most_allocated", (6000, 5000), 25),  # more than there is counts as nothing
        ("most_allocated", (0, 0), 0),
        ("most_allocated", (4000, 10000), 100),
        ("most_allocated", (39, 99), 0),
    ],
)
def test_scores_are_upstreams(packing: Packing, requested: tuple[int, int], expected: int) -> None:
    """Source: noderesources/least_allocated_test.go and most_allocated_test.go, nodes of 4000 m and 10000."""
    assert score(rows((4000, 10000)), rows(requested), packing).tolist() == [expected]


@given(
    have=st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
    used=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    packing=st.sampled_from(["least_allocated", "most_allocated"]),
)
def test_scores_are_whole_numbers_as_written_plainly(
    have: tuple[int, int], used: tuple[int, int], packing: Packing
) -> None:
    parts = []
    for capacity, requested in zip(have, used, strict=True):
        counted = capacity - requested if packing == "least_allocated" else requested
        parts.append(0 if requested > capacity else counted * 100 // capacity)
    assert score(rows(have), rows(used), packing).tolist() == [sum(parts) // 2]


def test_pods_are_spread_or_packed() -> None:
    made = nodes(group("a"), group("b"))
    made.requested[0] = ONE
    none = np.zeros(1, dtype=np.int64)
    assert choose_node(made, ONE, "least_allocated", none) == 1
    assert choose_node(made, ONE, "most_allocated", none) == 0
    assert choose_node(made, 2 * ONE, "most_allocated", none) == 1
    assert choose_node(made, 3 * ONE, "most_allocated", none) == NOWHERE


def test_among_equal_nodes_the_first_is_taken() -> None:
    assert choose_node(nodes(group("a"), group("b")), ONE, "least_allocated", np.zeros(1, np.int64)) == 0


@pytest.mark.parametrize(
    ("resource", "changes"),
    [(0, {"vcpu": 0.9}), (1, {"memory_gib": 0.9}), (2, {"gpus": 0}), (3, {"max_pods": 1})],
)
def test_every_resource_may_be_what_is_missing(resource: int, changes: dict[str, Any]) -> None:
    request = np.array([1000, 1024, 1, 1])
    made = nodes(group("small", **({"gpus": 1} | changes)), group("large", gpus=1))
    if resource == 3:
        made.requested[0, 3] = 1
    none = np.zeros(1, dtype=np.int64)
    assert choose_node(made, request, "most_allocated", none) == 1
    made.phase[1] = DRAINING
    assert choose_node(made, request, "most_allocated", none) == NOWHERE


def test_zones_with_the_fewest_pods_come_first_and_regions_are_kept() -> None:
    made = nodes(group("a", zone="a"), group("b", zone="b"), group("c", region="there", zone="a"))
    made.requested[1] = ONE
    assert made.zones == [("region", "a"), ("region", "b"), ("there", "a")]
    assert choose_node(made, ONE, "least_allocated", np.array([1, 0, 1])) == 1
    assert choose_node(made, ONE, "least_allocated", np.array([0, 0, 1])) == 0
    assert choose_node(made, ONE, "least_allocated", np.array([0, 0, 1]), "there") == 2
    assert choose_node(made, ONE, "least_allocated", np.array([0, 0, 1]), "nowhere") == NOWHERE


def test_a_service_is_spread_over_zones() -> None:
    groups = (
        group("a", vcpu=8.0, memory_gib=16.0, zone="a"),
        group("b", vcpu=8.0, memory_gib=16.0, zone="b"),
    )
    for packing in ("least_allocated", "most_allocated"):
        story = Story(service(), groups=groups, packing=packing).until(1.0).ask(6).until(10.0)
        assert story.cluster._running.nodes.requested[:2, 3].tolist() == [3, 3]


def test_first_come_first_served_and_a_small_pod_does_not_wait_for_a_large_one() -> None:
    pods = [service(name="large", vcpu_per_pod=2.0), service(name="small", vcpu_per_pod=0.5)]
    story = Story(*pods, groups=(group(boot=always(5.0)),), seconds=200.0).until(1.0).ask(0, 1).until(2.0)
    story.ask(2, 1).until(3.0).ask(2, 2).until(10.0)
    assert story.times("pod bound", service="large") == []
    assert story.times("pod bound", service="small") == [1.0, 3.0]
    story.ask(2, 2, nodes=[2]).until(20.0)
    assert story.times("pod bound", service="large") == [15.0]
