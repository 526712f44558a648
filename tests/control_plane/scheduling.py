"""What kube-scheduler is told: its usual profile, and two that choose nodes by requests alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PACKINGS = {"least_allocated": "LeastAllocated", "most_allocated": "MostAllocated"}
"""By the names of these profiles, the one way of scoring that each has."""

BACK_OFF_SECONDS = 1
"""How long a pod that fitted nowhere waits at least before it is tried again; the scheduler looks once a second
whose time has come."""


def configuration(version: tuple[int, int], kubeconfig: Path, port: int) -> dict[str, Any]:
    """A KubeSchedulerConfiguration.

    All nodes are scored; by default a share of them would be where more than 100 have room.

    Args:
        port: for what versions before 1.22 serve without TLS.
    """
    old = version < (1, 22)
    api = "v1beta1" if old else "v1beta2" if version < (1, 25) else "v1"
    insecure = f"127.0.0.1:{port}"
    served = {"healthzBindAddress": insecure, "metricsBindAddress": insecure} if old else {}
    profiles = [_profile(name, strategy, old=old) for name, strategy in PACKINGS.items()]
    return {
        "apiVersion": f"kubescheduler.config.k8s.io/{api}",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 500, "burst": 500},
        "percentageOfNodesToScore": 100,
        "podInitialBackoffSeconds": BACK_OFF_SECONDS,
        "podMaxBackoffSeconds": BACK_OFF_SECONDS,
        "profiles": [{"schedulerName": "default-scheduler"}, *profiles],
        **served,
    }


def _profile(name: str, strategy: str, *, old: bool) -> dict[str, Any]:
    plugin = f"NodeResources{strategy}" if old else "NodeResourcesFit"
    score = {"disabled": [{"name": "*"}], "enabled": [{"name": plugin, "weight": 1}]}
    profile: dict[str, Any] = {"schedulerName": name.replace("_", "-"), "plugins": {"score": score}}
    if not old:
        both = [{"name": resource, "weight": 1} for resource in ("cpu", "memory")]
        arguments = {"scoringStrategy": {"type": strategy, "resources": both}}
        profile["pluginConfig"] = [{"name": plugin, "args": arguments}]
    return profile
