"""A record played again on the request engine: its rate and its replicas, step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.task import Task
from experiments.fit.record import Record
from experiments.fit.waiting import FRACTIONS, MEAN
from simulator.arrays import Floats
from simulator.latency import percentile_seconds
from simulator.plant import Desired
from simulator.scenario import MetricPipeline, Scenario
from simulator.service import Service, StartUpLaw

_AT_ONCE = StartUpLaw(p50_seconds=1e-3, p95_seconds=1e-3, pending_share=0.0)
_NEVER = MetricPipeline(scrape_seconds=3600, window_seconds=3600, lag_seconds=3600)
_MOST_REQUESTS = 30e6
_PATIENT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Replay:
    """What the model did, by step; float64 ``(T,)`` each.

    Attributes:
        cpu_cores: mean over the step.
        latencies: p50, p95 and mean of the requests that ended in it, seconds, by the record's names; NaN without any.
    """

    cpu_cores: Floats
    latencies: dict[str, Floats]


def replay(task: Task, record: Record, seed: int, repeats: int = 3) -> Replay:
    """Run the recorded rate on the recorded replicas; several runs together, as far as that is quick.

    Pods are ready when the record has them, whatever the task's start-up.
    """
    requests = float(record.answered.sum())
    repeats = max(1, min(repeats, int(_MOST_REQUESTS / max(requests, 1.0))))
    sequences = np.random.SeedSequence(seed).spawn(repeats)
    runs = [_run(task, record, sequence) for sequence in sequences]
    counts, seconds, served, cores = (np.sum(list(column), axis=0) for column in zip(*runs, strict=True))
    with np.errstate(invalid="ignore"):
        mean = seconds / np.where(served > 0, served, np.nan)
    latencies = {
        name: np.array([percentile_seconds(row, fraction) for row in counts])
        for name, fraction in FRACTIONS.items()
    }
    return Replay(cores / repeats, latencies | {MEAN: mean})


def _run(
    task: Task, record: Record, sequence: np.random.SeedSequence
) -> tuple[np.ndarray, Floats, Floats, Floats]:
    """Latency counts, seconds of response and requests served, and cores, by step."""
    trace = record.trace()
    replicas = np.maximum(np.rint(record.serving), 0).astype(np.int64)
    scenario = _at_once(task, int(replicas.max()))
    cluster = scenario.build(sequence, (task.objective.slo_seconds,), trace)
    intervals = []
    for count in replicas:
        cluster.apply(Desired(np.array([count])))
        intervals.append(cluster.advance(record.step_seconds))
    requests = [interval.requests for interval in intervals]
    return (
        np.array([one.latency_counts.sum(axis=0) for one in requests]),
        np.array([one.response_seconds.sum() for one in requests]),
        np.array([one.served.sum() for one in requests]),
        np.array([interval.cpu_seconds.sum() for interval in intervals]) / record.step_seconds,
    )


def _at_once(task: Task, most: int) -> Scenario:
    """The task's world with up to ``most`` pods that are ready when asked for and that finish what they have."""
    scenario = task.scenario
    service = scenario.system.services[0].model_dump() | {
        "start_up": _AT_ONCE,
        "drain_grace_seconds": _PATIENT_SECONDS,
        "min_replicas": 0,
        "max_replicas": max(most, 1),
    }
    return scenario.model_copy(
        update={"service": Service.model_validate(service), "metrics": _NEVER, "staffing_quality": 0.0}
    )
