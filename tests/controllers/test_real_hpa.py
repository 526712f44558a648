"""The controller-manager's own HPA and ours on the same pods and the same CPU numbers, change by change.

The real HPA scales; ours looks on through the Plant that the controller uses and says what it would do. Each
change of the real one must be what ours wished for when the real one looked, and no wish of ours may be left
undone. When in its period the real one looks is not known, so several of ours look at different moments. What
differs by version stands in EXPLAINED.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from control_plane.cluster import ControlPlane
from control_plane.kubelet import FakeKubelet
from control_plane.process import wait_until
from control_plane.resource_metrics import MetricsServer
from kubernetes.client import AppsV1Api

from agents.baselines.hpa import HpaSettings, make_hpa
from agents.baselines.hpa_behavior import Behavior, ScalingPolicy, ScalingRules
from agents.policy import Context, Policy
from controllers.plants.kubernetes import Deployment, KubernetesSettings, NoSource
from simulator.plant import PodRules

SYNC_SECONDS = 2.0
PHASES = 8
LATE_SECONDS = 2 * SYNC_SECONDS + 1.5
REQUEST_MILLI = 100
CONTEXT = Context(("web",), np.array([1]), np.array([40]))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

AT_ONCE = ScalingRules(
    stabilization_window_seconds=0,
    policies=(ScalingPolicy(type="Percent", value=1000, period_seconds=15),),
)
EXPLAINED: dict[str, tuple[tuple[int, int], str]] = {
    "down and up again": (
        (1, 25),
        "kubernetes/kubernetes #109058: removals count, too, towards the replicas a period began with",
    ),
}


@dataclass
class Seen:
    """What one of ours saw and wished for.

    Attributes:
        changes: (seconds, from, to) of the real HPA.
        wishes: (seconds, current, wished) of ours.
    """

    changes: list[tuple[float, int, int]] = field(default_factory=list)
    wishes: list[tuple[float, int, int]] = field(default_factory=list)

    def undone(self) -> list[str]:
        """Wishes that stood for longer than the HPA needs to act."""
        found = []
        since = (math.inf, 0, 0)
        for seconds, current, wished in self.wishes:
            if wished == current or since[1:] != (current, wished):
                since = (seconds if wished != current else math.inf, current, wished)
            if seconds - since[0] > LATE_SECONDS:
                found.append(f"from {since[0]:.1f} s on ours wished for {wished} instead of {current}")
                since = (math.inf, current, wished)
        return found


def differences(seen: list[Seen]) -> list[str]:
    """Changes that none of ours wished for just before, and wishes of all of ours that came to nothing."""
    wishes = [wish for one in seen for wish in one.wishes]
    found = []
    for at, before, after in min((one.changes for one in seen), key=len):
        near = {
            wished
            for seconds, current, wished in wishes
            if current == before and at - LATE_SECONDS <= seconds <= at
        }
        if after not in near:
            found.append(
                f"at {at:.1f} s the HPA went from {before} to {after}; ours wished for {sorted(near)}"
            )
    return found + min((one.undone() for one in seen), key=len)


class Stage:
    """A Deployment that the real HPA scales, and ours beside it."""

    def __init__(
        self, control_plane: ControlPlane, namespace: str, behavior: Behavior, replicas: int
    ) -> None:
        self._apps = AppsV1Api(control_plane.admin)
        self._namespace = namespace
        self._create(replicas)
        settings = HpaSettings(target=0.5, behavior=behavior, period=SYNC_SECONDS)
        self._policies: list[Policy] = [make_hpa(settings, CONTEXT) for _ in range(PHASES)]
        plant = KubernetesSettings(namespace=namespace, deployment="web")
        rules = PodRules(initialization_seconds=0.0)
        self._plant = Deployment(plant, control_plane.admin, NoSource(), time.time, rules)
        wait_until(lambda: self.counts() == (replicas, replicas), "all pods are ready")
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
        spec = {
            "minReplicas": 1,
            "maxReplicas": 40,
            "metrics": [{"type": "Resource", "resource": cpu}],
            "behavior": _as_api(behavior),
        }
        control_plane.create_hpa(namespace, "web", spec)

    def counts(self) -> tuple[int, int]:
        """Wanted and ready pods."""
        seen = self._plant.snapshot()
        return int(seen.wanted[0]), int(seen.ready[0])

    def watch(self, seen: list[Seen], seconds: float, begin: float) -> None:
        """Look at each phase of every period."""
        first = round((time.monotonic() - begin) / SYNC_SECONDS * PHASES) + 1
        for look in range(first, first + round(seconds / SYNC_SECONDS * PHASES)):
            time.sleep(max(begin + look * SYNC_SECONDS / PHASES - time.monotonic(), 0.0))
            snapshot = self._plant.snapshot()
            at, current = time.monotonic() - begin, int(snapshot.wanted[0])
            mine = seen[look % PHASES]
            if mine.wishes and mine.wishes[-1][1] != current:
                mine.changes.append((at, mine.wishes[-1][1], current))
            wish = self._policies[look % PHASES].decide(snapshot)
            mine.wishes.append((at, current, int(wish.replicas[0])))

    def _create(self, replicas: int) -> None:
        requests = {"cpu": f"{REQUEST_MILLI}m"}
        container = {"name": "main", "image": "none", "resources": {"requests": requests}}
        labels = {"app": "web"}
        body: Any = {
            "metadata": {"name": "web"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }
        self._apps.create_namespaced_deployment(self._namespace, body)


def _as_api(behavior: Behavior) -> dict[str, Any]:
    def rules(side: ScalingRules) -> dict[str, Any]:
        found: dict[str, Any] = {"selectPolicy": side.select_policy}
        if side.stabilization_window_seconds is not None:
            found["stabilizationWindowSeconds"] = side.stabilization_window_seconds
        if side.policies is not None:
            found["policies"] = [
                {"type": one.type, "value": one.value, "periodSeconds": one.period_seconds}
                for one in side.policies
            ]
        return found

    sides = {"scaleUp": behavior.scale_up, "scaleDown": behavior.scale_down}
    return {name: rules(side) for name, side in sides.items() if side is not None}


Load = Callable[[str], float | None]


@dataclass(frozen=True)
class Scenario:
    """A story of loads.

    Attributes:
        loads: (seconds, millicores of a pod by its name).
        changes: how often the real HPA has to have acted, so that there is something to compare.
        start_seconds: how long pods take to become ready.
    """

    loads: tuple[tuple[float, Load], ...]
    behavior: Behavior
    changes: int
    replicas: int = 2
    start_seconds: float = 0.3


def every(millicores: float) -> Load:
    return lambda _: millicores


def some(millicores: float, share: int) -> Load:
    """All but each ``share``-th pod, by its name."""
    return lambda pod: None if sum(pod.encode()) % share == 0 else millicores


NARROW = ScalingRules(
    stabilization_window_seconds=0, policies=(ScalingPolicy(type="Pods", value=1, period_seconds=15),)
)
SCENARIOS = {
    "ratios": Scenario(
        tuple((5.0, every(load)) for load in (54, 56, 45, 44, 75, 10, 130, 49)),
        Behavior(scale_up=AT_ONCE, scale_down=AT_ONCE),
        changes=4,
    ),
    "default scale-up": Scenario(((36.0, every(400)),), Behavior(scale_down=AT_ONCE), changes=3),
    "stabilised scale-down": Scenario(
        ((4.0, every(50)), (6.0, every(20)), (4.0, every(40)), (16.0, every(10))),
        Behavior(scale_up=AT_ONCE, scale_down=ScalingRules(stabilization_window_seconds=8)),
        changes=2,
        replicas=10,
    ),
    "one pod at a time": Scenario(
        ((34.0, every(10)),), Behavior(scale_up=AT_ONCE, scale_down=NARROW), changes=2, replicas=8
    ),
    "missing metrics": Scenario(
        ((7.0, some(120, 3)), (7.0, some(20, 2)), (7.0, lambda _: None), (7.0, every(90))),
        Behavior(scale_up=AT_ONCE, scale_down=AT_ONCE),
        changes=2,
        replicas=6,
    ),
    "slow starts": Scenario(
        ((12.0, every(90)), (12.0, every(140))),
        Behavior(scale_up=AT_ONCE, scale_down=AT_ONCE),
        changes=2,
        start_seconds=6.0,
        replicas=3,
    ),
    "down and up again": Scenario(
        ((5.0, every(50)), (4.0, every(25)), (22.0, every(200))),
        Behavior(scale_down=AT_ONCE),
        changes=2,
        replicas=12,
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_ours_wishes_what_the_real_one_does(
    name: str,
    control_plane: ControlPlane,
    namespace: str,
    kubelet: FakeKubelet,
    metrics_server: MetricsServer,
) -> None:
    scenario = SCENARIOS[name]
    metrics_server.usage = scenario.loads[0][1]
    stage = Stage(control_plane, namespace, scenario.behavior, scenario.replicas)
    kubelet.start_seconds = scenario.start_seconds
    seen, begin = [Seen() for _ in range(PHASES)], time.monotonic()
    for seconds, load in scenario.loads:
        metrics_server.usage = load
        stage.watch(seen, seconds, begin)
    assert min(len(one.changes) for one in seen) >= scenario.changes, seen[0].changes
    found = differences(seen)
    until, reason = EXPLAINED.get(name, ((0, 0), ""))
    if control_plane.version < until:
        assert found, f"nothing differs any more: {reason}"
    else:
        assert not found, "\n".join(found)
