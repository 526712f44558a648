"""What every policy of the registry keeps, and a Bundle as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import FakePlant

from agents.policy import Policy
from agents.registry import RULES, make
from envs.task import load_task
from experiments.run import make_context
from simulator.plant import Desired, Metric, Snapshot
from simulator.pod_groups import PodGroup, PodGroups

TASK = load_task("web")
TINY = str(Path(__file__).parent.parent / "data" / "tiny.bundle")
SPECS = ("fixed:replicas=7", "hpa:target=0.5,window=60", TINY)


def made(spec: str) -> Policy:
    return make(spec, make_context(TASK, None, 0))


def test_every_rule_is_in_the_contracts() -> None:
    assert {spec.partition(":")[0] for spec in SPECS} == {*RULES, TINY}


@pytest.mark.parametrize("spec", SPECS)
def test_policies_hold_on_missing_metrics_and_leave_the_snapshot_alone(spec: str) -> None:
    policy = made(spec)
    snapshot = FakePlant(cpu=np.nan, rate=np.nan).snapshot()
    before = repr(snapshot)
    replicas = policy.decide(snapshot).replicas
    assert replicas.dtype == np.int64
    assert replicas.shape == (1,)
    assert replicas[0] == (7 if spec.startswith("fixed") else 4)
    assert repr(snapshot) == before
    assert policy.period_seconds > 0


@pytest.mark.parametrize("spec", SPECS)
def test_many_clusters_at_once_are_as_many_alone(spec: str) -> None:
    together, alone = made(spec), [made(spec) for _ in range(3)]
    plants = [FakePlant(replicas=6), FakePlant(replicas=20), FakePlant(replicas=3)]
    rng = np.random.default_rng(0)
    for tick in range(30):
        for plant in plants:
            plant.cpu, plant.rate, plant.now = (
                float(rng.uniform(0, 1.2)),
                float(rng.uniform(0, 2000)),
                15.0 * tick,
            )
        if tick == 15:
            together.reset(np.array([False, True, False]))
            alone[1].reset()
        snapshots = [plant.snapshot() for plant in plants]
        each = [int(one.decide(seen).replicas[0]) for one, seen in zip(alone, snapshots, strict=True)]
        assert together.decide(stack(snapshots)).replicas[:, 0].tolist() == each
        for plant, replicas in zip(plants, each, strict=True):
            plant.apply(Desired(np.array([min(max(replicas, 2), 200)])))


def stack(snapshots: list[Snapshot]) -> Snapshot:
    def metric(name: str) -> Metric:
        metrics = [getattr(one, name) for one in snapshots]
        return Metric(
            np.stack([one.value for one in metrics]), np.stack([one.age_seconds for one in metrics])
        )

    def group(name: str) -> PodGroup:
        groups = [getattr(one.pods["cpu"], name) for one in snapshots]
        fields = ("count", "samples", "usage_milli", "request_milli")
        return PodGroup(**{field: np.stack([getattr(one, field) for one in groups]) for field in fields})

    counts = ("time_seconds", "wanted", "starting", "ready", "draining")
    return Snapshot(
        **{name: np.stack([getattr(one, name) for one in snapshots]) for name in counts},
        **{name: metric(name) for name in ("cpu", "rate", "latency_p95", "queue")},
        pods={
            "cpu": PodGroups(
                *(group(name) for name in ("counted", "unready", "missing", "ignored")),
                age_seconds=np.stack([one.pods["cpu"].age_seconds for one in snapshots]),
            )
        },
    )
