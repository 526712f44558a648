"""Waking from zero in the batch engine: the same lives as on the request engine, the same cold starts."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from batches import clusters
from hand_made import always, service

from envs.task import Task
from simulator.cluster import Cluster
from simulator.fluid_plant import FluidPlant
from simulator.plant import Desired, Snapshot
from simulator.scenario import Scenario
from simulator.trace import Trace

STEPS, PERIOD_SECONDS = 120, 10.0
MINIMUM = {"usd_per_vcpu_hour": 3.6, "minimum_billed_seconds": 60}


def sleeper(arrivals: str, **changes: Any) -> Task:
    """A service that wakes, its requests evenly spread or by chance."""
    fields = service(wakes=True, max_replicas=10, **changes)
    return Task.model_validate(
        {
            "name": "sleeper",
            "question": "Do both engines sleep and wake alike?",
            "scenario": {
                "workload": {"model": "nasa", "mean_rps": 0.1, "arrivals": {"process": arrivals}},
                "service": fields,
                "prices": MINIMUM,
                "staffing_quality": 0.0,
            },
            "objective": {"slo_seconds": 3.0, "violation_budget": 0.05, "usd_per_violation": 1e-4},
            "period_seconds": PERIOD_SECONDS,
            "horizon_seconds": PERIOD_SECONDS * STEPS,
            "judged_seconds": 3600,
        }
    )


def seen(snapshot: Snapshot) -> list[int]:
    return [int(np.ravel(count)[0]) for count in (snapshot.wanted, snapshot.ready, snapshot.starting)]


@pytest.mark.parametrize("seed", range(20))
def test_without_chance_services_sleep_and_wake_as_on_the_request_engine(seed: int) -> None:
    """Requests come in the middle of ten seconds that have one, away from looks and decisions."""
    rng = Random(seed)
    task = sleeper(
        "deterministic",
        stays_seconds=rng.choice((15.0, 30.0, 90.0)) + 0.7,
        start_up=always(rng.choice((1.25, 5.25, 21.25))) | {"pending_share": 0.5},
    )
    trace = Trace(np.array([rng.random() < 0.06 for _ in range(STEPS)], np.float64), PERIOD_SECONDS)
    truth, batch = task.build(0, trace), FluidPlant(clusters(task, trace, 1))
    wanted = 1
    cost, found = [], []
    for step in range(STEPS):
        assert seen(truth.snapshot()) == seen(batch.snapshot()), step
        if step == 0 or rng.random() < 0.1:
            wanted = rng.choice((0, 0, 1, 3))
            truth.apply(Desired(np.array([wanted])))
            batch.apply(Desired(np.array([[wanted]])))
        here, there = truth.advance(PERIOD_SECONDS), batch.advance(PERIOD_SECONDS)
        assert here.pods_started.tolist() == there.pods_started[0].tolist(), step
        cost.append(float(here.total_usd))
        found.append(float(there.total_usd[0]))
    assert sum(found) == pytest.approx(sum(cost), rel=0.01)


@pytest.mark.parametrize(("asked", "rate_rps"), [(0, 0.05), (0, 0.3), (1, 0.5)])
def test_cold_starts_and_short_queues_make_as_many_late_as_on_the_request_engine(
    asked: int, rate_rps: float
) -> None:
    """The mean of 16 runs of an hour and a half, within their chance and a tenth."""
    law = {"law": "lognormal", "mean_seconds": 0.4, "scv": 2.0}
    start_up = {"p50_seconds": 2, "p95_seconds": 5, "pending_share": 0.5}
    task = sleeper("poisson", service_time=law, start_up=start_up, stays_seconds=60.0)
    trace = Trace(np.full(90, 60 * rate_rps), 60.0)
    truth = np.array([totals(task.build(seed, trace), np.array([asked])) for seed in range(16)])
    batch = totals(FluidPlant(clusters(task, trace, 200)), np.full((200, 1), asked))
    mean, found = truth.mean(axis=0), batch.mean(axis=-1)
    chance = 3 * truth.std(axis=0) / np.sqrt(len(truth) - 1)
    assert (np.abs(found - mean) <= chance + 0.1 * mean).all(), (found, mean)
    assert found[0] > 0


def totals(plant: Cluster | FluidPlant, asked: np.ndarray) -> np.ndarray:
    """Requests that are late, pods created, and USD: float64 ``(3, ...)``."""
    total = np.zeros((3, *asked.shape[:-1]))
    for _ in range(540):
        plant.apply(Desired(asked))
        done = plant.advance(PERIOD_SECONDS)
        total += [done.requests.late[..., 0, 0], done.pods_started[..., 0], done.cost_usd[..., 0]]
    return total


def test_another_episode_is_as_the_first_of_another_seed() -> None:
    """Nothing of an episode is left in the next: a cluster alone is as among others."""
    task = sleeper("poisson", stays_seconds=60.0)
    trace = Trace(np.full(60, 6.0), 60.0)
    among, alone = clusters(task, trace, 3), clusters(task, trace, 1)
    everyone = np.arange(3)
    for episode in range(2):
        for _ in range(60):
            for plant in (among, alone):
                plant.apply(np.zeros_like(plant.state.wanted))
                plant.advance()
            assert among.state.wanted[0] == alone.state.wanted[0]
            assert among.happened.usd[0] == alone.happened.usd[0]
            assert among.happened.late[0] == alone.happened.late[0]
        if episode == 0:
            among.begin(everyone[::-1].copy())
            alone.begin(everyone[:1].copy())


def test_a_service_that_others_call_sleeps_and_is_woken() -> None:
    """Calls wait for the look and the start, and no fallback takes them."""
    behind = service(name="behind", wakes=True, stays_seconds=30.0)
    front = service(name="front", min_replicas=1)
    front["operations"] = [
        {"name": "op", "service_time": front.pop("service_time"), "steps": [[{"to": "behind"}]]}
    ]
    scenario = {
        "workload": {"model": "nasa", "mean_rps": 0.1},
        "application": {
            "services": [front, behind],
            "classes": [{"name": "all", "entry": {"to": "front.op"}}],
        },
        "prices": MINIMUM,
        "staffing_quality": 0.0,
    }
    task = sleeper("poisson").model_copy(update={"scenario": Scenario.model_validate(scenario)})
    trace = Trace(np.full(60, 1.0), 60.0)
    asked = np.array([1, 0])
    truth = np.array([woken(task.build(seed, trace), asked) for seed in range(8)])
    batch = woken(FluidPlant(clusters(task, trace, 64)), np.broadcast_to(asked, (64, 2)))
    mean, chance = truth.mean(axis=0), 3 * truth.std(axis=0) / np.sqrt(len(truth) - 1)
    assert (np.abs(batch.mean(axis=-1) - mean) <= chance + 0.1 * mean).all(), (batch.mean(axis=-1), mean)


def woken(plant: Cluster | FluidPlant, asked: np.ndarray) -> np.ndarray:
    """Pods of the second service, and USD: float64 ``(2, ...)``."""
    total = np.zeros((2, *asked.shape[:-1]))
    for _ in range(360):
        plant.apply(Desired(asked))
        done = plant.advance(PERIOD_SECONDS)
        total += [done.pods_started[..., 1], done.cost_usd.sum(axis=-1)]
    return total
