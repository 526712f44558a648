"""The cluster autoscaler's rules: which group gets nodes, and which nodes are not needed.

Pure functions on tables; ``simulator.provisioning`` does what they say.
Source: kubernetes/autoscaler cluster-autoscaler, FAQ.md, expander/, core/scaledown, simulator/estimator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from simulator.arrays import Ints
from simulator.nodes import CPU, GPUS, MEMORY, READY, Nodes
from simulator.settings import Settings

Expander = Literal["least_waste", "most_pods", "least_nodes", "price", "priority", "random"]


class Consolidation(Settings):
    """Emptying nodes whose pods fit elsewhere, where that pays; Karpenter's consolidation."""

    usd_per_moved_pod: float = Field(
        default=0.001, ge=0, le=1000, description="What moving a pod is worth against a node's price."
    )
    payback_seconds: float = Field(
        default=3600.0,
        gt=0,
        le=604_800,
        description="A node is emptied where its price of this time is above that.",
    )


class NodeAutoscaler(Settings):
    """When nodes come and go by themselves; defaults are the flags' of Kubernetes' cluster autoscaler."""

    scan_seconds: float = Field(default=10.0, gt=0, le=3600, description="--scan-interval.")
    expander: Expander = Field(default="least_waste", description="--expander: which group gets new nodes.")
    unneeded_seconds: float = Field(
        default=600.0, ge=0, le=86_400, description="--scale-down-unneeded-time: so long before a node goes."
    )
    after_add_seconds: float = Field(
        default=600.0,
        ge=0,
        le=86_400,
        description="--scale-down-delay-after-add: none goes so long after one came.",
    )
    utilization_threshold: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="--scale-down-utilization-threshold: requested over "
        "allocatable; of GPUs alone where a node has some.",
    )
    max_provision_seconds: float = Field(
        default=900.0,
        gt=0,
        le=86_400,
        description="--max-node-provision-time: a launch is given up after it.",
    )
    back_off_seconds: float = Field(
        default=300.0,
        ge=0,
        le=86_400,
        description="--initial-node-group-backoff-duration: a group rests after a failed launch; doubles.",
    )
    back_off_cap_seconds: float = Field(
        default=1800.0, ge=0, le=86_400, description="--max-node-group-backoff-duration."
    )
    max_removed_at_once: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="--max-scale-down-parallelism: nodes that are being removed at a time.",
    )
    max_drains_at_once: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="--max-drain-parallelism: those of them that have had pods.",
    )
    candidates: int = Field(
        default=30,
        ge=1,
        le=100_000,
        description="--scale-down-non-empty-candidates-count: nodes with pods that are looked at in one scan.",
    )
    consolidation: Consolidation | None = Field(
        default=None, description="Empty nodes above the threshold, too, where it pays; None: never."
    )

    @model_validator(mode="after")
    def _in_order(self) -> NodeAutoscaler:
        if self.back_off_seconds > self.back_off_cap_seconds:
            msg = (
                f"back_off_seconds ({self.back_off_seconds:g}) must be at most back_off_cap_seconds "
                f"({self.back_off_cap_seconds:g})"
            )
            raise ValueError(msg)
        return self


@dataclass(frozen=True, slots=True)
class Option:
    """What scaling up one group would do.

    Attributes:
        group: its place.
        node_count: nodes to add.
        pods: pods that would get a place.
        pods_request: int64 ``(R,)``; what they request together.
        node_capacity: int64 ``(R,)``; what a new node has for pods.
        usd_per_hour: of a new node.
        priority: the group's.
    """

    group: int
    node_count: int
    pods: int
    pods_request: Ints
    node_capacity: Ints
    usd_per_hour: float = 0.0
    priority: int = 0


def expand(
    options: Sequence[Option], expander: Expander, rng: np.random.Generator | None = None
) -> list[Option]:
    """The best options, in order; those that tie all stay, but for ``random``.

    Raises:
        ValueError: if ``random`` has no generator.
    """
    if not options:
        return []
    if expander == "random":
        if rng is None:
            msg = "the expander random needs a generator"
            raise ValueError(msg)
        return [options[int(rng.integers(len(options)))]]
    scores = [_score(option, expander) for option in options]
    best = min((score for score in scores if not math.isnan(score)), default=None)
    return [option for option, score in zip(options, scores, strict=True) if score == best]


def _score(option: Option, expander: Expander) -> float:
    """The lower the better; NaN for what cannot be chosen."""
    if expander == "least_waste":
        room = option.node_capacity[[CPU, MEMORY]] * float(option.node_count)
        return float(np.sum((room - option.pods_request[[CPU, MEMORY]]) / room))
    if expander == "most_pods":
        return -float(option.pods)
    if expander == "least_nodes":
        return float(option.node_count) if option.node_count > 0 else float("nan")
    if expander == "price":
        return option.usd_per_hour * option.node_count / max(option.pods, 1)
    return -float(option.priority)


@dataclass(frozen=True, slots=True)
class Demand:
    """Pods without a node that request the same.

    Attributes:
        count: how many there are.
        request: int64 ``(R,)``.
        region: the only region that will do, None for any.
    """

    count: int
    request: Ints
    region: str | None


def nodes_needed(demands: Sequence[Demand], capacity: Ints, most_nodes: int) -> tuple[int, int, Ints]:
    """First-fit decreasing of pods onto new nodes: nodes used, pods placed, what those request together.

    Args:
        demands: those that may go to the group.
        capacity: int64 ``(R,)``; of a new node.
        most_nodes: how many there may be.

    Source: estimator/binpacking_estimator.go.
    """
    order = sorted(demands, key=lambda demand: -_size(demand.request, capacity))
    free = np.zeros((0, len(capacity)), dtype=np.int64)
    placed, total = 0, np.zeros(len(capacity), dtype=np.int64)
    for demand in order:
        left = demand.count
        each = _times(capacity, demand.request)
        if not each:
            continue
        inside = np.minimum(_times_rows(free, demand.request).cumsum(), left)
        counts = np.diff(inside, prepend=0)
        free = free - counts[:, np.newaxis] * demand.request
        left -= int(counts.sum())
        new = min(-(-left // each), most_nodes - len(free))
        fills = np.full(max(new, 0), each)
        if new > 0:
            fills[-1] = min(each, left - each * (new - 1))
        free = np.concatenate([free, capacity - fills[:, np.newaxis] * demand.request])
        left -= int(fills.sum())
        placed += demand.count - left
        total = total + (demand.count - left) * demand.request
    return len(free), placed, total


def left_over(demands: Sequence[Demand], free: Ints, regions: NDArray[np.str_]) -> tuple[list[Demand], Ints]:
    """The demands that do not fit on nodes, first fit, and the room that is left there.

    Args:
        free: int64 ``(N, R)``; room on the nodes, negative where no pod may go.
        regions: ``(N,)``; where each of them is.
    """
    rest = []
    free = free.copy()
    for demand in demands:
        fits = _times_rows(free, demand.request)
        if demand.region is not None:
            fits = np.where(regions == demand.region, fits, 0)
        counts = np.diff(np.minimum(fits.cumsum(), demand.count), prepend=0)
        used = np.flatnonzero(counts)
        free[used] -= counts[used, np.newaxis] * demand.request
        left = demand.count - int(counts.sum())
        if left:
            rest.append(Demand(left, demand.request, demand.region))
    return rest, free


def utilization(nodes: Nodes, rows: Ints) -> np.ndarray:
    """The larger of CPU and memory requested over allocatable, by node; of GPUs alone on nodes that have some.

    Source: cluster-autoscaler simulator/utilization/info.go.
    """
    share = nodes.requested[rows] / np.maximum(nodes.capacity[rows], 1)
    of_gpus = nodes.capacity[rows, GPUS] > 0
    return np.asarray(np.where(of_gpus, share[:, GPUS], share[:, [CPU, MEMORY]].max(axis=1, initial=0.0)))


def free_room(nodes: Nodes) -> Ints:
    """int64 ``(N, R)``; room by node row, -1 where no pod may go."""
    free = nodes.capacity[: nodes.count] - nodes.requested[: nodes.count]
    free[nodes.phase[: nodes.count] != READY] = -1
    return np.asarray(free)


def _size(request: Ints, capacity: Ints) -> float:
    """Source: estimator's pod score: CPU and memory over a node's."""
    return float((request[[CPU, MEMORY]] / capacity[[CPU, MEMORY]]).sum())


def _times(capacity: Ints, request: Ints) -> int:
    """How often a request fits."""
    asked = request > 0
    return int((capacity[asked] // request[asked]).min()) if (capacity >= 0).all() else 0


def _times_rows(free: Ints, request: Ints) -> Ints:
    asked = request > 0
    fits = (free[:, asked] // request[asked]).min(axis=1, initial=2**40)
    return np.asarray(np.maximum(fits, 0))
