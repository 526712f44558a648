"""What happens in the control plane, one line each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

What = Literal[
    "pod created",
    "pod bound",
    "image pulled",
    "pod started",
    "pod ready",
    "container killed",
    "pod draining",
    "pod lost",
    "pod gone",
    "node launched",
    "launch refused",
    "launch given up",
    "node ready",
    "node warned",
    "node draining",
    "node gone",
    "replicas wanted",
    "requests wanted",
    "nodes wanted",
    "change refused",
    "roll-out",
    "traffic diverted",
    "traffic back",
    "fault begins",
    "fault ends",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        service: its name, empty where it is about none.
        pod: running number of the pod, -1 for none; no two pods have the same.
        node: running number of the node, -1 for none.
        detail: why, or how much.
    """

    time_seconds: float
    what: What
    service: str = ""
    pod: int = -1
    node: int = -1
    detail: str = ""


Journal = Callable[[Event], None]
"""Takes events as they happen."""
