"""The cluster autoscaler's rules as pure functions: upstream's own tables, brute force, plain first fit."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import yaml
from case_tables import Case, parameters
from hand_made import group
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cluster_settings import ClusterSettings
from simulator.errors import InputError
from simulator.node_autoscaler import Demand, Option, expand, free_room, left_over, nodes_needed, utilization
from simulator.nodes import BOOTING, READY, NodeGroup, Nodes
from simulator.settings import parse_settings

MIB = 1 << 20
CAPACITY = np.array([4000, 4096, 1, 5])


def option(place: int, given: dict[str, Any]) -> Option:
    def amounts(of: str) -> np.ndarray:
        return np.array([given.get(f"{of}_cpu_milli", 0), given.get(f"{of}_memory", 0) / MIB, 0, 0])

    return Option(
        place, given.get("node_count", 1), given.get("pod_count", 1), amounts("pods"), amounts("node")
    )


@pytest.mark.parametrize(("table", "row"), parameters({"ca_expander"}))
def test_expander_case(table: str, row: Case) -> None:
    options = [option(place, given) for place, given in enumerate(row["options"])]
    chosen = [row["options"][best.group]["name"] for best in expand(options, row["kind"])]
    assert chosen == row["expected"]["chosen"]


def test_the_table_is_there() -> None:
    assert len(parameters({"ca_expander"})) >= 7


def plain(place: int, **changes: Any) -> Option:
    fields: dict[str, Any] = {"node_count": 1, "pods": 2, "usd_per_hour": 1.0, "priority": 0}
    return Option(place, pods_request=np.ones(4), node_capacity=CAPACITY, **(fields | changes))


def test_price_and_priority() -> None:
    """USD an hour of the new nodes over the pods that they take: 1/2, 3/8, 3/8."""
    options = [
        plain(0, priority=5),
        plain(1, node_count=3, pods=8),
        plain(2, usd_per_hour=3.0, pods=8, priority=7),
    ]
    assert [best.group for best in expand(options, "price")] == [1, 2]
    assert [best.group for best in expand(options, "priority")] == [2]


def test_random_takes_each_alike_and_needs_a_generator() -> None:
    options, rng = [plain(place) for place in range(3)], np.random.default_rng(1)
    counts = np.bincount([expand(options, "random", rng)[0].group for _ in range(3000)])
    assert (abs(counts - 1000) < 4 * np.sqrt(3000 * 2 / 9)).all()
    with pytest.raises(ValueError, match="random needs a generator"):
        expand(options, "random")
    assert expand([], "random") == []


def test_no_option_is_left_where_none_adds_a_node() -> None:
    assert expand([plain(0, node_count=0)], "least_nodes") == []


REQUESTS = st.tuples(
    st.sampled_from([250, 1000, 1500, 4000]),
    st.sampled_from([256, 1024, 3000]),
    st.sampled_from([0, 0, 1]),
    st.just(1),
)
DEMANDS = st.lists(st.tuples(st.integers(1, 6), REQUESTS), max_size=4)


def first_fit_decreasing(demands: list[Demand], most: int) -> tuple[int, int]:
    """As upstream writes it: pod by pod, the largest first, on the first node with room."""
    pods = [demand.request for demand in demands for _ in range(demand.count)]
    pods.sort(key=lambda request: -float((request[:2] / CAPACITY[:2]).sum()))
    free: list[np.ndarray] = []
    placed = 0
    for request in pods:
        place = next((place for place, room in enumerate(free) if (room >= request).all()), None)
        if place is None and len(free) < most and (request <= CAPACITY).all():
            free.append(CAPACITY.copy())
            place = len(free) - 1
        if place is not None:
            free[place] = free[place] - request
            placed += 1
    return len(free), placed


@settings(deadline=None, max_examples=300, derandomize=True)
@given(demands=DEMANDS, most=st.integers(0, 6))
def test_nodes_needed_are_first_fit_decreasings(demands: list[tuple[int, Any]], most: int) -> None:
    given_ = [Demand(count, np.array(request), None) for count, request in demands]
    nodes, placed, total = nodes_needed(given_, CAPACITY, most)
    assert (nodes, placed) == first_fit_decreasing(given_, most)
    assert nodes <= most
    assert (total <= nodes * CAPACITY).all(), "more than there is room for"
    assert total[3] == placed


def fewest_nodes(sizes: list[np.ndarray]) -> int:
    """By trying every way."""
    for nodes in range(len(sizes) + 1):
        for places in product(range(nodes), repeat=len(sizes)):
            used = np.zeros((nodes, 4), dtype=np.int64)
            for place, size in zip(places, sizes, strict=True):
                used[place] += size
            if (used <= CAPACITY).all():
                return nodes
    return len(sizes)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(requests=st.lists(REQUESTS, max_size=5))
def test_nodes_needed_are_never_too_few_and_hardly_too_many(requests: list[Any]) -> None:
    sizes = [np.array(request) for request in requests]
    nodes, placed, _ = nodes_needed([Demand(1, size, None) for size in sizes], CAPACITY, 10)
    fewest = fewest_nodes(sizes)
    assert placed == len(sizes)
    assert fewest <= nodes <= 2 * fewest


def test_what_fits_on_no_node_needs_none() -> None:
    nodes, placed, total = nodes_needed([Demand(3, np.array([5000, 1, 0, 1]), None)], CAPACITY, 10)
    assert (nodes, placed, total.tolist()) == (0, 0, [0, 0, 0, 0])


@settings(deadline=None, max_examples=200, derandomize=True)
@given(demands=DEMANDS, rooms=st.lists(REQUESTS, max_size=4))
def test_what_is_left_over_is_plain_first_fits(demands: list[tuple[int, Any]], rooms: list[Any]) -> None:
    free = np.array([np.array(room) * 2 for room in rooms], dtype=np.int64).reshape(-1, 4)
    given_ = [Demand(count, np.array(request), None) for count, request in demands]
    rest, room = left_over(given_, free, np.array(["here"] * len(free), dtype=np.str_))
    expected, left = free.copy(), []
    for demand in given_:
        over = 0
        for _ in range(demand.count):
            fits = [place for place in range(len(expected)) if (expected[place] >= demand.request).all()]
            if fits:
                expected[fits[0]] -= demand.request
            else:
                over += 1
        left += [over] if over else []
    assert [demand.count for demand in rest] == left
    assert room.tolist() == expected.tolist()


def test_use_is_that_of_the_scarcer_resource_and_room_is_on_ready_nodes() -> None:
    nodes = Nodes((NodeGroup.model_validate(group()),), 60.0)
    for phase in (READY, BOOTING):
        nodes.phase[nodes.add(0, 0.0)] = phase
    nodes.requested[0] = (500, 3072, 0, 3)
    assert utilization(nodes, np.array([0, 1])).tolist() == [0.75, 0.0]
    assert free_room(nodes).tolist() == [[1500, 1024, 0, 107], [-1, -1, -1, -1]]


def test_use_of_a_node_with_gpus_is_that_of_its_gpus_alone() -> None:
    nodes = Nodes((NodeGroup.model_validate(group(gpus=4)),), 60.0)
    for requested in ((200, 256, 3, 3), (2000, 4096, 1, 2)):
        nodes.requested[nodes.add(0, 0.0)] = requested
    assert utilization(nodes, np.array([0, 1])).tolist() == [0.75, 0.25]


@pytest.mark.parametrize(
    ("given", "allocatable"),
    [
        ({"instance_type": "m5.large"}, [2000 - 70, 8 * 1024 - 1465, 0, 110]),
        ({"instance_type": "m5.4xlarge"}, [16_000 - 110, 64 * 1024 - 1465, 0, 110]),
        ({"instance_type": "m5.large", "max_pods": 29}, [1930, 8 * 1024 - 574, 0, 29]),
        ({"vcpu": 0.5, "memory_gib": 2, "usd_per_hour": 0.01}, [470, 2048 - 1465, 0, 110]),
        (
            {"instance_type": "m5.4xlarge", "reserved_vcpu": 1, "reserved_memory_gib": 0},
            [15_000, 65_536, 0, 110],
        ),
    ],
)
def test_a_node_keeps_what_eks_keeps_unless_it_is_given(
    given: dict[str, Any], allocatable: list[int]
) -> None:
    """6 % of the first core, 1 % of the second, 0.5 % of two more, 0.25 % of others; 255 MiB + 11 MiB a pod."""
    assert NodeGroup(name="n", **given).allocatable.tolist() == allocatable


def test_a_node_that_has_not_even_what_is_kept_is_refused() -> None:
    with pytest.raises(ValueError, match=r"leave nothing for pods \(if not given, max_pods, 1000, rules"):
        NodeGroup(name="n", vcpu=2, memory_gib=8, usd_per_hour=0.1, max_pods=1000)


def test_a_dead_node_is_noticed_as_late_as_since_kubernetes_1_32() -> None:
    assert ClusterSettings(groups=(NodeGroup(name="n", instance_type="m5.large"),)).detection_seconds == 50.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"autoscaler": None},
            r"no pod could ever run: initial_nodes is 0 in all groups and autoscaler is null",
        ),
        (
            {"autoscaler": {"back_off_seconds": 2000}},
            r"back_off_seconds \(2000\) must be at most back_off_cap_seconds \(1800\)",
        ),
        ({"groups": [group(usd_per_hour=True)]}, r"groups\.0\.usd_per_hour: must be a number"),
        ({"groups": [group(max_nodes=True)]}, r"groups\.0\.max_nodes: must be a number"),
        (
            {"groups": [{"name": "n", "vcpu": 2, "memory_gib": 4, "spot": {}}]},
            r"groups\.0: node group 'n': usd_per_hour must be given, or an instance_type",
        ),
    ],
)
def test_a_cluster_that_cannot_work_is_refused(changes: dict[str, Any], said: str) -> None:
    fields = {"groups": [group(initial_nodes=0), group("other", initial_nodes=0)]} | changes
    with pytest.raises(InputError, match=said):
        parse_settings(ClusterSettings, yaml.safe_dump(fields), "cluster.yaml")


def test_a_cluster_without_nodes_may_get_some_from_its_autoscaler() -> None:
    assert ClusterSettings.model_validate({"groups": [group(initial_nodes=0)]}).autoscaler
    some = {"groups": [group(initial_nodes=0), group("b")], "autoscaler": None}
    assert ClusterSettings.model_validate(some).autoscaler is None
