"""Pods and nodes in the batch engine: the same lives as on the request engine, and nothing gets lost."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from batches import clusters
from quiet import check_same, seen, world

from envs.task import Task, load_task
from simulator.flow.fleet import (
    ALIVE,
    COUNTED,
    DRAINING_POD,
    GROUP,
    LOST,
    NO_POD,
    NODE,
    NODE_PHASE,
    PHASE,
    READY_AT,
    READY_POD,
    SERVICE,
    WAITING,
    WITHOUT_NODE,
)
from simulator.fluid import FluidClusters
from simulator.fluid_plant import FluidPlant
from simulator.nodes import GONE
from simulator.plant import Desired
from simulator.trace import Trace

Fields = dict[str, Any]


@pytest.mark.parametrize("seed", range(60))
def test_without_chance_pods_and_nodes_live_as_on_the_request_engine(seed: int) -> None:
    rng = Random(seed)
    check_same(world(rng), rng)


def changed(name: str, **scenario: Any) -> Task:
    content = load_task(name).model_dump(mode="json", exclude_none=True)
    for key, value in scenario.items():
        content["scenario"][key] = content["scenario"][key] | value if isinstance(value, dict) else value
    return Task.model_validate(content)


def steady(task: Task, hours: int = 1) -> Trace:
    return Trace(np.full(60 * hours, 60 * task.scenario.workload.mean_rps), 60.0, name="steady")


def check_books(made: FluidClusters, task: Task) -> None:
    """What is kept twice agrees, and no node has more than it can hold."""
    fleet = made.fleet
    assert fleet is not None
    cluster, services = task.scenario.cluster, task.scenario.system.services
    groups = cluster.groups if cluster else ()
    trusted = made.sort_pods()
    assert (trusted.counted + trusted.unready + trusted.missing == fleet.service[:, :, ALIVE]).all()
    for n in range(len(fleet.pod)):
        pods = fleet.pod[n][fleet.pod[n, :, PHASE] != NO_POD]
        replicas = pods[pods[:, PHASE] != DRAINING_POD]
        assert (np.bincount(replicas[:, SERVICE], minlength=len(services)) == made.state.applied[n]).all()
        assert (fleet.service[n, :, ALIVE] == made.state.applied[n]).all()
        waiting = pods[pods[:, PHASE] == WAITING, SERVICE]
        assert (np.bincount(waiting, minlength=len(services)) == fleet.service[n, :, WITHOUT_NODE]).all()
        assert (pods[np.isin(pods[:, PHASE], (WAITING, LOST)), NODE] == -1).all()
        for node in np.flatnonzero(fleet.node[n, :, NODE_PHASE] != GONE):
            there = pods[pods[:, NODE] == node, SERVICE]
            assert (np.bincount(there, minlength=len(services)) == fleet.on_node[n, node]).all()
            held = groups[fleet.node[n, node, GROUP]].allocatable
            assert (fleet.requested[n, node] >= 0).all()
            assert (fleet.requested[n, node] <= held).all()
        if groups:
            assert (fleet.node_counts[n].sum(axis=0) <= [2 * group.max_nodes for group in groups]).all()


@pytest.mark.parametrize("name", ["spot-fleet", "multi-region", "cold-start", "llm-inference"])
def test_books_agree_whatever_is_asked_for(name: str) -> None:
    task = load_task(name)
    made = clusters(task, steady(task), 8)
    rng = np.random.default_rng(1)
    services = task.scenario.system.services
    low, high = ([getattr(each, bound) for each in services] for bound in ("min_replicas", "max_replicas"))
    for step in range(240):
        if rng.random() < 0.3:
            made.apply(rng.integers(low, np.minimum(high, 60), made.state.wanted.shape, endpoint=True))
        made.advance()
        if step % 20 == 0:
            check_books(made, task)


def test_a_cluster_is_the_same_alone_and_among_others() -> None:
    task = load_task("multi-region")
    trace = steady(task)
    alone, among = clusters(task, trace, 3), clusters(task, trace, 600)
    for step in range(120):
        wanted = np.full((600, 2), 6 + step % 7)
        alone.apply(wanted[:3])
        among.apply(wanted)
        here, there = alone.advance(), among.advance()
        for name in ("late", "node_usd", "busy_seconds", "started", "launched"):
            assert getattr(here, name).tobytes() == getattr(there, name)[:3].tobytes(), name


def test_spot_nodes_are_taken_back_at_their_rate_and_replaced() -> None:
    per_hour, hours = 1.0, 2
    group = {"name": "spot", "instance_type": "m5.xlarge", "spot": {"interruptions_per_hour": per_hour}}
    task = changed("spot-fleet", cluster={"groups": [group]})
    made = clusters(task, steady(task, hours), 60)
    made.apply(np.full((60, 1), 30))
    launched, node_seconds = 0, 0.0
    for step in range(240 * hours):
        happened = made.advance()
        if step >= 40:
            launched += int(happened.launched.sum())
            node_seconds += float(happened.node_seconds.sum())
    expected = node_seconds / 3600 * per_hour
    assert launched == pytest.approx(expected, rel=0.05 + 4 / np.sqrt(expected))


def test_nodes_cost_their_time_or_their_minimum() -> None:
    for minimum in (0.0, 3600.0):
        task = changed("spot-fleet", cluster={"minimum_billed_seconds": minimum})
        assert task.scenario.cluster is not None
        made = clusters(task, steady(task), 20)
        prices = np.array([group.usd_per_second for group in task.scenario.cluster.groups])
        seconds, usd, launched = np.zeros(4), np.zeros(4), np.zeros(4)
        for step in range(240):
            made.apply(np.full((20, 1), 60 if step < 60 else 10))
            happened = made.advance()
            seconds += happened.node_seconds.sum(axis=0)
            usd += happened.node_usd.sum(axis=0)
            launched += happened.launched.sum(axis=0)
        billed = launched * minimum if minimum else seconds
        assert (seconds < launched * 3600).all()
        assert usd == pytest.approx(billed * prices, rel=1e-9)


def test_a_snapshot_stays_as_it_was() -> None:
    task = load_task("spot-fleet")
    plant = FluidPlant(clusters(task, steady(task), 3))
    shown = plant.snapshot()
    before = seen(shown)
    for _ in range(20):
        plant.apply(Desired(np.full((3, 1), 60)))
        plant.advance(15.0)
    assert seen(shown) == before


@pytest.mark.parametrize("at_seconds", [0.0, 5.0, 20.0])
def test_a_fault_at_the_very_beginning_takes_its_pods(at_seconds: float) -> None:
    made = clusters(
        changed("spot-fleet", faults=[{"kind": "pod_kill", "at_seconds": at_seconds, "count": 3}]),
        steady(load_task("spot-fleet")),
        5,
    )
    assert sum(made.advance().started[:, 0] for _ in range(3)).tolist() == [3] * 5


def test_cpu_is_shown_as_on_the_request_engine_when_pods_go() -> None:
    task = load_task("cold-start")
    trace = steady(task)
    shown = []
    for plant in (task.build(0, trace), FluidPlant(clusters(task, trace, 20))):
        found = []
        for step in range(60):
            plant.apply(Desired(np.full(np.shape(plant.snapshot().wanted), 16 if step < 40 else 8)))
            plant.advance(15.0)
            found.append(float(np.mean(plant.snapshot().cpu.value)))
        shown.append(found[35:])
    assert shown[1] == pytest.approx(shown[0], abs=0.08)


@pytest.mark.parametrize(
    ("fault", "hit"),
    [
        ({"kind": "zone_loss", "region": "region", "zone": "a"}, [True, False, False, True]),
        ({"kind": "region_loss", "region": "region"}, [True, True, True, True]),
    ],
)
def test_a_zone_or_region_that_is_lost_has_no_nodes_until_it_is_back(fault: Fields, hit: list[bool]) -> None:
    task = changed("spot-fleet", faults=[{**fault, "at_seconds": 900.0, "duration_seconds": 600.0}])
    made = clusters(task, steady(task), 10)
    nodes = []
    for _ in range(160):
        made.apply(np.full((10, 1), 70))
        made.advance()
        assert made.fleet is not None
        nodes.append(made.fleet.node_counts.sum(axis=(0, 1)))
    counts = np.array(nodes)
    during, after = counts[61:99], counts[-1]
    assert (during[:, hit] == 0).all()
    assert (during[:, ~np.array(hit)] > 0).all()
    assert after.sum() >= 10 * 70 // 4


def test_a_node_that_dies_takes_its_pods_and_they_are_replaced_when_that_is_noticed() -> None:
    task = changed("spot-fleet", faults=[{"kind": "node_loss", "at_seconds": 300.0, "count": 3}])
    assert task.scenario.cluster is not None
    made = clusters(task, steady(task), 10)
    made.apply(made.state.wanted.copy())
    ready = []
    for _ in range(40):
        made.advance()
        assert made.fleet is not None
        lost = (made.fleet.pod[:, :, PHASE] == LOST).sum(axis=1)
        ready.append((made.state.ready[:, 0].copy(), lost))
    before, after = ready[19][0], ready[20]
    assert (after[1] > 0).all()
    assert (after[0] < before).all()
    assert (ready[20 + round(task.scenario.cluster.detection_seconds) // 15 + 1][1] == 0).all()
    assert (ready[-1][0] == before).all()


def test_stock_out_stops_launches_of_its_group_alone() -> None:
    fault = {"kind": "stock_out", "group": "spot-a", "at_seconds": 0.0, "duration_seconds": 3600.0}
    made = clusters(changed("spot-fleet", faults=[fault]), steady(load_task("spot-fleet")), 10)
    launched = np.zeros(4)
    made.advance()
    for step in range(100):
        made.apply(np.full((10, 1), 20 + step))
        launched += made.advance().launched.sum(axis=0)
    assert launched[0] == 0
    assert (launched[1:3] > 0).all()


def test_cold_pods_work_at_their_speed_until_they_are_warm() -> None:
    task = load_task("cold-start")
    warm_up = task.scenario.system.services[0].warm_up
    assert warm_up is not None
    made = clusters(task, steady(task), 5)
    fleet = made.fleet
    assert fleet is not None
    assert (made.state.pace == 1.0).all()
    made.apply(made.state.wanted + 4)
    for _ in range(60):
        made.advance()
        now = fleet.cluster_when[:, COUNTED] - 2.5
        ready = (fleet.pod[:, :, PHASE] == READY_POD) & (fleet.pod_when[:, :, READY_AT] <= now[:, np.newaxis])
        came = np.where(ready, fleet.pod_when[:, :, READY_AT], 0.0)
        cold = ready & (came > 0) & (now[:, np.newaxis] - came < warm_up.seconds)
        counts, colds = ready.sum(axis=1), cold.sum(axis=1)
        expected = (counts - colds * (1 - warm_up.speed)) / counts
        assert made.state.pace[:, 0] == pytest.approx(expected, rel=1e-12)
    assert (made.state.pace == 1.0).all()


def test_a_region_without_pods_sends_its_calls_to_the_other() -> None:
    fault = {"kind": "region_loss", "region": "europe", "at_seconds": 600.0, "duration_seconds": 900.0}
    task = changed("multi-region", faults=[fault])
    made = clusters(task, steady(task), 4)
    made.apply(np.full((4, 2), 40))
    offered, late = [], []
    for _ in range(140):
        happened = made.advance()
        offered.append(happened.offered.sum(axis=0).copy())
        late.append(happened.late.sum() / happened.requests.sum())
    calls = np.array(offered) / 15 / 4
    half = task.scenario.workload.mean_rps / 2
    assert calls[30] == pytest.approx([half, half], rel=0.2)
    assert calls[60:90, 0].max() < 0.02 * half
    assert calls[60:90, 1].mean() == pytest.approx(2 * half, rel=0.1)
    assert late[39] < 0.01 < late[40]
    assert max(late[60:90]) < 0.01


def test_batches_are_as_busy_as_on_the_request_engine() -> None:
    task = load_task("llm-inference")
    trace = steady(task, 2)
    truth, batch = task.build(0, trace), FluidPlant(clusters(task, trace, 30))
    for replicas in (4, 12):
        shares = []
        for plant in (truth, batch):
            for step in range(240):
                plant.apply(Desired(np.full(np.shape(plant.snapshot().wanted), replicas)))
                interval = plant.advance(15.0)
                if step == 120:
                    used = capacity = 0.0
                if step >= 120:
                    used += float(interval.cpu_seconds.sum())
                    capacity += float(interval.cpu_capacity_seconds.sum())
            shares.append(used / capacity)
        assert shares[1] == pytest.approx(shares[0], abs=0.02)
