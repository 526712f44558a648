"""No skew: the real loop, the runner and the environment see and do the same, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakePlant

from agents.bundle import LearnedPolicy, load_bundle
from agents.policy import Context, Policy
from agents.registry import RULES, make
from agents.runner import Decision, run
from controllers.clock import VirtualClock
from controllers.loop import Loop, Record
from envs.autoscale import AutoscaleEnv
from envs.task import load_task
from simulator.plant import Desired, Metric, Snapshot
from simulator.pod_groups import PodGroup, PodGroups
from simulator.trace import Trace

TASK = load_task("web")
INTERFACE = TASK.interface
TINY = str(Path(__file__).parent.parent / "data" / "tiny.bundle")
HOUR = 3600.0
MINUTES = np.arange(60)
HILLS = Trace(np.round(60 * (60 + 500 * np.sin(np.pi * MINUTES / 30) ** 2)), 60.0, name="hills")
SPECS = {
    "fixed": ["fixed:replicas=7"],
    "hpa": [
        "hpa",
        "hpa:target=0.5,window=60",
        "hpa:target=0.6,window=0,period=40",
        "hpa:metrics=[{type: pods, name: rate, average_value: 50}, {type: resource, name: cpu, utilization: 0.6}]",
    ],
    "keda": ["keda:target=50,window=60"],
    "target_tracking": ["target_tracking:target=0.5,low_datapoints=3,scale_in_cooldown=60"],
    "step_scaling": ["step_scaling:high=0.7,low=0.5"],
    "vpa": ["vpa:confidence_interval=600"],
    "schedule": [
        "schedule:lines=['*/2 * * * * = 5', '1-59/2 * * * * = 9', '*/3 * * * * = 6', '*/5 * * * * = 20']"
    ],
    "pid": ["pid", "pid:target=0.5,kp=0.2,kd=3"],
    "staffing": ["staffing:slots=4,slo=0.3", "staffing:slots=4,rule=square_root,window=60"],
    "predictive_hpa": ["predictive_hpa:start_up=45", "predictive_hpa:horizon=120,target=0.5,window=60"],
    "mpc": ["mpc:slots=4,slo=0.3,start_up=45", "mpc:slots=4,rule=square_root,start_up=45,up=3,down=1"],
}
ALL = [*(spec for specs in SPECS.values() for spec in specs), TINY]


def made(spec: str) -> Policy:
    guard = INTERFACE.guard
    bounds = np.array(guard.min_replicas), np.array(guard.max_replicas)
    return make(spec, Context(INTERFACE.services, *bounds, np.array([80.0]), INTERFACE))


def bits(value: object) -> object:
    """All that a Snapshot holds, arrays as bytes."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, Snapshot | Metric | PodGroup | PodGroups):
        return [bits(getattr(value, name)) for name in value.__dataclass_fields__]
    if isinstance(value, dict):
        return {key: bits(part) for key, part in value.items()}
    return value


def in_the_loop(spec: str, seed: int) -> list[Decision]:
    records: list[Record] = []
    plant = TASK.build(seed, HILLS)
    Loop(plant, made(spec), INTERFACE.new_guard(), VirtualClock(plant, HOUR), records.append).run()
    assert {record.outcome for record in records} <= {"applied", "unchanged"}
    return [record.decision for record in records if record.decision is not None]


def in_the_runner(spec: str, seed: int) -> list[Decision]:
    plant = TASK.build(seed, HILLS)
    return [decision for decision, _ in run(plant, made(spec), INTERFACE.new_guard(), plant.advance, HOUR)]


def test_every_rule_is_driven() -> None:
    assert set(SPECS) == set(RULES)


@pytest.mark.parametrize("spec", ALL)
def test_the_loop_and_the_runner_see_and_decide_the_same(spec: str) -> None:
    there, here = in_the_loop(spec, 3), in_the_runner(spec, 3)
    assert len(there) == len(here) == -(-HOUR // made(spec).period_seconds)
    for one, other in zip(there, here, strict=True):
        assert bits(one.snapshot) == bits(other.snapshot)
        assert one.wish.replicas.tobytes() == other.wish.replicas.tobytes()
        assert one.allowed.replicas.tobytes() == other.allowed.replicas.tobytes()
        assert bits(one.allowed.vcpu) == bits(other.allowed.vcpu)
        assert one.wish.reason == other.wish.reason
    steps = np.diff([int(decision.allowed.replicas[0]) for decision in here])
    if spec.startswith(("fixed", "vpa")):
        assert not steps.any()
        assert spec.startswith("fixed") or any(one.allowed.vcpu is not None for one in here)
    else:
        assert (steps > 0).any()
        assert (steps < 0).any()
    other_seed = in_the_runner(spec, 4)
    assert [bits(one.snapshot) for one in other_seed] != [bits(one.snapshot) for one in here]


def test_the_environment_and_the_loop_see_and_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = LearnedPolicy(load_bundle(TINY))
    env, twin = AutoscaleEnv(TASK, HILLS), AutoscaleEnv(TASK, HILLS)
    observation, info = env.reset(seed=9, options={"start_seconds": 0.0})
    acted_on, asked, truncated = [], [], False
    while not truncated:
        acted_on.append(observation.tobytes())
        action = policy.logits(observation)[0].argmax()
        observation, _, _, truncated, info = env.step(np.int64(action))
        asked.append(info["replicas"])

    twin.reset(seed=9, options={"start_seconds": 0.0})
    deployed = make(TINY, Context(INTERFACE.services, np.array([2]), np.array([200]), interface=INTERFACE))
    assert isinstance(deployed, LearnedPolicy)
    seen: list[bytes] = []
    observe = deployed._observer.observe

    def noting(snapshot: Snapshot) -> Any:
        seen.append(observe(snapshot).tobytes())
        return np.frombuffer(seen[-1], dtype=np.float32)

    monkeypatch.setattr(deployed._observer, "observe", noting)
    records: list[Record] = []
    clock = VirtualClock(twin._cluster, HOUR)
    Loop(twin._cluster, deployed, INTERFACE.new_guard(), clock, records.append).run()
    assert seen == acted_on
    assert [int(record.decision.allowed.replicas[0]) for record in records if record.decision] == asked
    steps = np.diff(asked)
    assert (steps > 0).sum() > 5
    assert (steps < 0).sum() > 5


class Fixed4:
    def __init__(self, period_seconds: float) -> None:
        self.period_seconds = period_seconds

    def decide(self, snapshot: Snapshot) -> Desired:
        return Desired.hold(snapshot)

    def reset(self, mask: Any = None) -> None:
        pass


@pytest.mark.parametrize(("period", "duration"), [(15.0, 60.0), (15.0, 50.0), (0.1, 1.0), (0.7, 4.9)])
def test_the_virtual_clock_ticks_as_the_runner_does(period: float, duration: float) -> None:
    """Periods that are no binary fractions must not add up to another tick."""
    plants, records = [FakePlant(), FakePlant()], []
    clock = VirtualClock(plants[0], duration)  # type: ignore[arg-type]
    Loop(plants[0], Fixed4(period), INTERFACE.new_guard(), clock, records.append).run()
    decisions = list(run(plants[1], Fixed4(period), INTERFACE.new_guard(), plants[1].advance, duration))
    assert len(records) == len(decisions) == round(duration / period + 0.49)
    assert plants[0].now == pytest.approx(duration)
    assert plants[1].now == pytest.approx(duration)
    assert clock.now_seconds() == pytest.approx(duration)
