"""What every policy of the registry keeps, and a Bundle as well."""

from __future__ import annotations

import dataclasses
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from fakes import FakePlant

from agents.each import Alone, Each
from agents.policy import Policy
from agents.registry import RULES, make, make_each
from envs.task import load_task
from experiments.run import make_context
from simulator.errors import InputError
from simulator.plant import Desired, Metric, Snapshot
from simulator.pod_groups import PodGroup, PodGroups

TASK = load_task("web")
TINY = str(Path(__file__).parent.parent / "data" / "tiny.bundle")
SCHEDULE = "schedule:lines=['*/2 * * * * = 5', '1-59/2 * * * * = 9', '*/3 * * * * = 6', '*/5 * * * * = 20']"
STAFFING = "staffing:capacity=80,slots=4,slo=0.3"
PREDICTIVE = "predictive_hpa:target=0.5,window=60,start_up=45"
MPC = "mpc:capacity=80,slots=4,slo=0.3,start_up=45"
SPECS = (
    "fixed:replicas=7",
    "hpa:target=0.5,window=60",
    "target_tracking:target=0.5,low_datapoints=4,period=15",
    "step_scaling:period=15",
    "vpa:period=15",
    SCHEDULE,
    "pid:kp=0.3",
    STAFFING,
    "keda:target=60,window=60",
    PREDICTIVE,
    MPC,
    TINY,
)
OTHERS = {
    "fixed": ("fixed:replicas=7", "fixed:replicas=3", "fixed:replicas=200"),
    "hpa": (
        "hpa:target=0.5,window=60",
        "hpa:target=0.9,window=0,scale_up=gentle",
        "hpa:target=0.6",
        "hpa:target=1.2,window=45",
        "hpa:behavior=none,window=45",
        "hpa:behavior=none,target=0.3,tolerance=0",
        "hpa:behavior={scale_up: {stabilization_window_seconds: 30}},target=0.4,window=90",
        "hpa:metrics=[{type: external, name: rate, average_value: 60}],window=30",
        "hpa:metrics=[{type: pods, name: rate, average_value: 60}, {type: resource, name: cpu, utilization: 0.5}]",
    ),
    "keda": (
        "keda:target=60,window=60",
        "keda:target=25,window=0,cooldown=30",
        "keda:target=90",
        "keda:triggers=[{metric: rate, target: 40, activation: 500}, {metric: queue, target: 3, type: value}]",
        "keda:target=60,min_replicas=3,idle=0,cooldown=60,fallback={failures: 1, replicas: 9}",
        "keda:target=30,paused_scale_in=true",
    ),
    "target_tracking": (
        "target_tracking:target=0.5,low_datapoints=4,period=15",
        "target_tracking:target=0.9,high_datapoints=1,low_datapoints=2,scale_in_cooldown=60,period=15",
        "target_tracking:target=0.4,high_datapoints=1,low_datapoints=2,scale_in_cooldown=60,period=15",
        "target_tracking:target=50,metric=requests,high_datapoints=1,low_datapoints=1,period=15",
    ),
    "step_scaling": (
        "step_scaling:period=15",
        "step_scaling:high=0.9,low=0.5,period=15",
        "step_scaling:scale_out={steps: [{lower: 0, adjustment: 25}], evaluation_periods: 1},period=15",
        "step_scaling:scale_in=none,period=15",
    ),
    "vpa": ("vpa:period=15", "vpa:period=15,margin=0.3"),
    "schedule": (
        SCHEDULE,
        "schedule:lines=['* * * * * = 3']",
        "schedule:lines=['*/2 * * * * = 9', '1-59/2 * * * * = 4']",
    ),
    "pid": (
        "pid:kp=0.3",
        "pid:target=0.4,kd=3",
        "pid:target=0.3,down=0.5",
        "pid:starting=false,target=0.3",
        "pid:signal=latency,target=0.2",
    ),
    "staffing": (STAFFING, f"{STAFFING},headroom=0.5", f"{STAFFING},rule=square_root,window=60"),
    "predictive_hpa": (
        PREDICTIVE,
        "predictive_hpa:target=0.9,window=0,quantile=0.5",
        "predictive_hpa:target=0.9,window=30,quantile=0.99",
        "predictive_hpa:horizon=300,scale_up=gentle",
    ),
    "mpc": (
        MPC,
        f"{MPC},level=0.5,horizon=0",
        f"{MPC},level=0.97",
        "mpc:up=2,down=1",
        "mpc:rule=square_root",
    ),
    TINY: (TINY,),
}
"""Settings by what they are settings of."""


BLIND = {"fixed": 7, "schedule": 20}
"""What those ask for at the start that read no metric."""


def made(spec: str) -> Policy:
    return make(spec, make_context(TASK, None, 0))


def test_every_rule_is_in_the_contracts() -> None:
    assert {spec.partition(":")[0] for spec in SPECS} == {*OTHERS} == {*RULES, TINY}


@pytest.mark.parametrize("spec", SPECS)
def test_policies_hold_on_missing_metrics_and_leave_the_snapshot_alone(spec: str) -> None:
    policy = made(spec)
    snapshot = FakePlant(cpu=np.nan, rate=np.nan).snapshot()
    before = repr(snapshot)
    replicas = policy.decide(snapshot).replicas
    assert replicas.dtype == np.int64
    assert replicas.shape == (1,)
    assert replicas[0] == BLIND.get(spec.partition(":")[0], 4)
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


@pytest.mark.parametrize(
    "specs", [*OTHERS.values(), tuple(spec for each in OTHERS.values() for spec in each)]
)
def test_settings_of_each_cluster_are_as_many_policies_alone(specs: tuple[str, ...]) -> None:
    """Twice each, so that those of one policy do not lie together."""
    specs = (*specs, *specs)
    together, alone = make_each(specs, make_context(TASK, None, 0)), [made(spec) for spec in specs]
    rng = np.random.default_rng(1)
    plants = [FakePlant(replicas=int(rng.integers(2, 40))) for _ in specs]
    assert together.period_seconds == 15
    for tick in range(60):
        for plant in plants:
            plant.cpu = np.nan if rng.uniform() < 0.1 else float(rng.uniform(0, 1.5))
            plant.rate, plant.now = float(rng.uniform(0, 2000)), 15.0 * tick
        if tick in {15, 16, 40}:
            mask = rng.uniform(size=len(specs)) < 0.4
            together.reset(mask)
            for place in np.flatnonzero(mask):
                alone[place].reset()
        if tick == 50:
            together.reset()
            for one in alone:
                one.reset()
        snapshots = [plant.snapshot() for plant in plants]
        each = [one.decide(seen).replicas for one, seen in zip(alone, snapshots, strict=True)]
        desired = together.decide(stack(snapshots))
        assert desired.replicas.dtype == np.int64
        assert desired.replicas.tolist() == [replicas.tolist() for replicas in each]
        assert (desired.vcpu, desired.memory_gib, desired.nodes) == (None, None, None)
        for plant, replicas in zip(plants, each, strict=True):
            plant.apply(Desired(np.clip(replicas, 2, 200)))


@pytest.mark.parametrize("spec", [PREDICTIVE, MPC, "fixed:replicas=6,vcpu=2", "hpa:window=60"])
def test_each_alone_is_as_if_there_were_no_other(spec: str) -> None:
    """Long enough without a history for forecasters to learn, which those of many clusters would not."""
    together, alone = Alone([made(spec) for _ in range(3)]), [made(spec) for _ in range(3)]
    rng = np.random.default_rng(2)
    for tick in range(300):
        if tick == 250:
            together.reset(np.array([False, True, False]))
            alone[1].reset()
        plants = [FakePlant(replicas=5) for _ in alone]
        for plant in plants:
            plant.rate, plant.now = float(rng.uniform(200, 400)), 15.0 * tick
        snapshots = [plant.snapshot() for plant in plants]
        each = [one.decide(seen) for one, seen in zip(alone, snapshots, strict=True)]
        desired = together.decide(stack(snapshots))
        assert desired.replicas.tolist() == [one.replicas.tolist() for one in each]
        vcpu = [one.vcpu.tolist() for one in each if one.vcpu is not None]
        assert (desired.vcpu is None and not vcpu) or desired.vcpu.tolist() == vcpu  # type: ignore[union-attr]


def test_what_some_ask_for_leaves_the_others_as_they_are() -> None:
    specs = ("fixed:replicas=7", "fixed:replicas=5,vcpu=2", "fixed:replicas=6")
    shown = dataclasses.replace(stack([FakePlant().snapshot()] * 3), vcpu=np.full((3, 1), 0.5))
    together = make_each(specs, make_context(TASK, None, 0))
    desired = together.decide(shown)
    assert desired.replicas[:, 0].tolist() == [7, 5, 6]
    assert desired.vcpu is not None
    assert desired.vcpu[:, 0].tolist() == [0.5, 2.0, 0.5]
    assert desired.memory_gib is None
    with pytest.raises(InputError, match="vcpu is asked for, but the plant does not show it"):
        together.decide(dataclasses.replace(shown, vcpu=None))
    both = make_each(("fixed:replicas=7,vcpu=1", "fixed:replicas=5,vcpu=2"), make_context(TASK, None, 0))
    desired = both.decide(stack([FakePlant().snapshot()] * 2))
    assert desired.vcpu is not None
    assert desired.vcpu[:, 0].tolist() == [1.0, 2.0]


def test_policies_that_decide_together_have_one_period() -> None:
    with pytest.raises(InputError, match="periods of 15 s and 30 s; give all of them the same"):
        make_each(("hpa", "hpa:period=30"), make_context(TASK, None, 0))


def test_a_thousand_hpas_are_two_policies() -> None:
    grid = product((0.3, 0.5, 0.9), (0, 300), ("default", "gentle"))
    specs = [f"hpa:target={target},window={window},scale_up={up}" for target, window, up in grid]
    together = make_each(specs * 84, make_context(TASK, None, 0))
    assert isinstance(together, Each)
    assert len(together._shares) == 2


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
