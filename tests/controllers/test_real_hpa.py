"""The controller-manager's own HPA and ours on the same pods and the same CPU numbers, change by change.

The real HPA scales; ours looks on through the Plant that the controller uses and says what it would do. Each
change of the real one must be what ours wished for when the real one looked, and no wish of ours may be left
undone. When in its period the real one looks is not known, so several of ours look at different moments. What
differs by version stands in EXPLAINED.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from control_plane.cluster import ControlPlane
from control_plane.kubelet import FakeKubelet
from control_plane.process import wait_until
from control_plane.resource_metrics import MetricsServer
from kubernetes.client import AppsV1Api, CoreV1Api

from agents.baselines.hpa import HpaSettings, make_hpa
from agents.baselines.hpa_behavior import Behavior, ScalingPolicy, ScalingRules
from agents.policy import Context, Policy
from controllers.plants.kubernetes import Deployment, KubernetesSettings, NoSource
from simulator.pod_groups import PodRules

SYNC_SECONDS = 2.0
PHASES = 8
LATE_SECONDS = 2 * SYNC_SECONDS + 1.5
TRIES = 3  # the real one may act in the hundredth of a second between a new load and our first look
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


@dataclass(frozen=True)
class Look:
    """When which of ours looked, what was wanted then, and what it wished for."""

    seconds: float
    phase: int
    current: int
    wished: int


def changes(looks: list[Look]) -> list[tuple[float, int, int]]:
    """When the real HPA scaled, from what, to what."""
    return [
        (look.seconds, before.current, look.current)
        for before, look in itertools.pairwise(looks)
        if look.current != before.current
    ]


def differences(looks: list[Look]) -> list[str]:
    """Changes that none of ours wished for just before, and wishes of all of ours that came to nothing."""
    found = []
    for at, before, after in changes(looks):
        wished = {
            look.wished
            for look in looks
            if look.current == before and at - LATE_SECONDS <= look.seconds <= at
        }
        if after not in wished:
            found.append(
                f"at {at:.1f} s the HPA went from {before} to {after}; ours wished for {sorted(wished)}"
            )
    each = ([look for look in looks if look.phase == phase] for phase in range(PHASES))
    return found + min((undone(own) for own in each), key=len)


def undone(looks: list[Look]) -> list[str]:
    """Wishes of one of ours that stood for longer than the HPA needs to act."""
    found = []
    stands = itertools.groupby(looks, key=lambda look: (look.current, look.wished))
    for (current, wished), group in stands:
        times = [look.seconds for look in group]
        if wished != current and times[-1] - times[0] > LATE_SECONDS:
            found.append(f"from {times[0]:.1f} s on ours wished for {wished} instead of {current}")
    return found


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

    def watch(self, looks: list[Look], seconds: float, begin: float) -> None:
        """Look at once, and then at each phase of every period."""
        step = SYNC_SECONDS / PHASES
        first = math.floor((time.monotonic() - begin) / step)
        for number in range(first, first + round(seconds / step)):
            time.sleep(max(begin + number * step - time.monotonic(), 0.0))
            snapshot = self._plant.snapshot()
            wish = self._policies[number % PHASES].decide(snapshot)
            at = time.monotonic() - begin
            looks.append(Look(at, number % PHASES, int(snapshot.wanted[0]), int(wish.replicas[0])))

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
# Windows and periods are no multiples of the sync period: else an age at its very edge is a matter of milliseconds.
SCENARIOS = {
    "ratios": Scenario(
        tuple((5.0, every(load)) for load in (54, 56, 45, 44, 75, 10, 130, 49)),
        Behavior(scale_up=AT_ONCE, scale_down=AT_ONCE),
        changes=4,
    ),
    "default scale-up": Scenario(((40.0, every(400)),), Behavior(scale_down=AT_ONCE), changes=3),
    "stabilised scale-down": Scenario(
        ((4.0, every(50)), (6.0, every(20)), (4.0, every(40)), (16.0, every(10))),
        Behavior(scale_up=AT_ONCE, scale_down=ScalingRules(stabilization_window_seconds=9)),
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
    until, reason = EXPLAINED.get(name, ((0, 0), ""))
    for _ in range(TRIES):
        looks = play(scenario, control_plane, kubelet, metrics_server)
        assert len(changes(looks)) >= scenario.changes, changes(looks)
        found = differences(looks)
        if not found or control_plane.version < until:
            break
    if control_plane.version < until:
        assert found, f"nothing differs any more: {reason}"
    else:
        assert not found, "\n".join(found)


def play(
    scenario: Scenario, control_plane: ControlPlane, kubelet: FakeKubelet, metrics_server: MetricsServer
) -> list[Look]:
    """All looks at one performance."""
    kubelet.reset()
    metrics_server.usage = scenario.loads[0][1]
    namespace = control_plane.create_namespace()
    stage = Stage(control_plane, namespace, scenario.behavior, scenario.replicas)
    kubelet.start_seconds = scenario.start_seconds
    looks: list[Look] = []
    begin = time.monotonic()
    for seconds, load in scenario.loads:
        metrics_server.usage = load
        stage.watch(looks, seconds, begin)
    CoreV1Api(control_plane.admin).delete_namespace(namespace)
    return looks
