"""Clusters of the batch engine, as a task says and without randomisation; and the same on both engines."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.task import Task, load_task
from simulator.arrays import Floats
from simulator.fluid import FluidClusters
from simulator.fluid_plant import FluidPlant
from simulator.plant import Desired
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


def front_on_both(
    services: list[dict[str, Any]],
    rps: float | list[float],
    slo_seconds: float,
    classes: list[dict[str, Any]] | None = None,
) -> tuple[Floats, Floats]:
    """Requests to ``front``, two pods of each service: the share that is late and CPU-seconds; batch, request engine.

    Args:
        rps: a rate, or one each minute.
        classes: of requests, where they are not all alike.
    """
    content = load_task("shop3").model_dump(mode="json", exclude_none=True)
    content["scenario"]["application"] = {
        "services": services,
        "classes": classes or [{"entry": {"to": "front"}}],
    }
    content["objective"]["slo_seconds"] = slo_seconds
    rates = np.full(15, rps) if isinstance(rps, float) else np.array(rps)
    task, trace = Task.model_validate(content), Trace(60 * rates, 60.0, name="made")
    made, truth = FluidPlant(clusters(task, trace, 4)), [task.build(seed, trace) for seed in range(3)]
    sums, pods = np.zeros((2, 3)), np.full(len(services), 2)
    for _ in range(round(trace.duration_seconds / task.period_seconds)):
        for row, plant in [(0, made), *((1, each) for each in truth)]:
            plant.apply(Desired(np.tile(pods, (4, 1)) if row == 0 else pods))
            interval = plant.advance(task.period_seconds)
            requests = interval.requests
            sums[row] += [requests.offered.sum(), requests.late.sum(), interval.cpu_seconds.sum()]
    return sums[0, 1:] / sums[0, 0], sums[1, 1:] / sums[1, 0]
