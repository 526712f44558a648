"""Clusters of the batch engine, as a task says and without randomisation."""

from __future__ import annotations

import numpy as np

from envs.task import Task
from simulator.fluid import FluidClusters
from simulator.randomization import Randomization
from simulator.trace import Trace


def clusters(task: Task, trace: Trace, count: int) -> FluidClusters:
    """In their first episode; cluster i has the seed i."""
    made = FluidClusters(
        task.scenario,
        [trace],
        count,
        period_seconds=task.period_seconds,
        horizon_seconds=trace.duration_seconds,
        slo_seconds=task.objective.slo_seconds,
        randomization=Randomization.none(),
    )
    everyone = np.arange(count)
    made.seed(everyone, everyone.tolist())
    made.begin(everyone)
    return made
