"""The reward: minus the loss, in units of a perfectly packed step at mean load."""

from __future__ import annotations

import numpy as np
import pytest

from envs.objective import Objective
from envs.reward import Reward
from envs.task import load_task
from simulator.plant import Desired
from simulator.trace import Trace


def test_it_is_the_loss_in_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = np.array([3.0, 0.5])
    monkeypatch.setattr(Objective, "loss_usd", lambda self, interval: losses)
    reward = Reward(Objective(slo_seconds=0.3, violation_budget=0.01, usd_per_violation=0.0), unit_usd=0.5)
    assert reward.of(None).tolist() == [-6.0, -1.0]  # type: ignore[arg-type]


def test_pods_that_the_mean_load_keeps_busy_earn_minus_one_a_step() -> None:
    task = load_task("web")
    pods = task.scenario.workload.mean_rps / task.scenario.system.capacity_rps()[0]
    cluster = task.build(0, Trace(np.zeros(10), 60.0))
    assert pods == pytest.approx(2.5)
    intervals = []
    for replicas in (2, 3, 3):
        cluster.apply(Desired(np.array([replicas])))
        intervals.append(cluster.advance(task.period_seconds))
    assert [float(task.reward.of(interval)) for interval in intervals] == pytest.approx(
        [-2 / 2.5, -3 / 2.5, -3 / 2.5]
    )
