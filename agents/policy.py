"""What decides: the Policy protocol and what a policy may know when it is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Floats, Ints
from simulator.plant import Desired, Snapshot

if TYPE_CHECKING:
    from envs.interface import Interface
    from simulator.trace import Trace

Mask = NDArray[np.bool_]


class Policy(Protocol):
    """A rule or a learned policy.

    Every policy states in its docstring what it does with a missing metric; the default is to
    hold, that is to return ``Desired.hold(snapshot)``.
    """

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        ...

    def decide(self, snapshot: Snapshot) -> Desired:
        """The policy's wish; the Guard is applied by whoever asked."""
        ...

    def reset(self, mask: Mask | None = None) -> None:
        """Forget what was seen; with a mask ``(...)``, only for the clusters where it is True."""
        ...


def by_cluster(values: Sequence[int]) -> int | Ints:
    """A setting of each of N clusters as int64 ``(N, 1)``; the one value where all have the same."""
    return values[0] if len(set(values)) == 1 else np.array(values, np.int64)[:, np.newaxis]


def floats_by_cluster(values: Sequence[float]) -> float | Floats:
    """As ``by_cluster``, float64."""
    return values[0] if len(set(values)) == 1 else np.array(values, np.float64)[:, np.newaxis]


@dataclass(frozen=True, slots=True)
class Context:
    """What a policy may know when it is made.

    Attributes:
        services: names along axis S.
        min_replicas: int64 ``(S,)``.
        max_replicas: int64 ``(S,)``.
        capacity_rps: float64 ``(S,)``; requests/s one pod can serve at most; NaN where that is not known.
        interface: what a learned policy must have been made for; None where any is accepted.
        groups: names of the node groups that a policy may size; None where that is not known.
        history: the trace before the judged part, None if there is none.
        seed: for policies that draw.
        start_seconds: what the trace's clock shows where the Plant's is 0; 0 of a real Plant, which counts from 1970.
        slots_per_pod: float64 ``(S,)``; requests one pod serves at once; NaN where that is not known.
        slo_seconds: the SLO; NaN where there is none.
        start_up_seconds: float64 ``(S,)``; from a pod's creation to ready, which 95 % of the pods keep; NaN where that
            is not known.
        calls_per_request: float64 ``(S,)``; calls of each service that a request of the history leads to; NaN where
            that is not known.
    """

    services: tuple[str, ...]
    min_replicas: Ints
    max_replicas: Ints
    capacity_rps: NDArray[np.float64] = field(default_factory=lambda: np.array([np.nan]))
    interface: Interface | None = None
    groups: tuple[str, ...] | None = None
    history: Trace | None = None
    seed: int = 0
    start_seconds: float = 0.0
    slots_per_pod: NDArray[np.float64] = field(default_factory=lambda: np.array([np.nan]))
    slo_seconds: float = math.nan
    start_up_seconds: NDArray[np.float64] = field(default_factory=lambda: np.array([np.nan]))
    calls_per_request: NDArray[np.float64] = field(default_factory=lambda: np.array([np.nan]))
