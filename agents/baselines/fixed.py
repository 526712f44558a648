"""Always the same number of replicas: the baseline without a control loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from pydantic import Field

from agents.policy import Context, Mask, by_cluster
from simulator.errors import InputError
from simulator.plant import Desired, Snapshot
from simulator.settings import Settings

VARIED: Final = frozenset({"replicas"})
"""Settings that the clusters of one Fixed may differ in."""


class FixedSettings(Settings):
    """How many replicas, for every service, and perhaps what a pod requests and how many nodes there are."""

    replicas: int = Field(ge=0, le=100_000, description="Replicas of every service.")
    vcpu: float | None = Field(
        default=None, gt=0, le=1024, description="CPU request of every pod; as it is if not given."
    )
    memory_gib: float | None = Field(
        default=None, gt=0, le=65_536, description="Memory request of every pod; as it is if not given."
    )
    nodes: int | None = Field(
        default=None, ge=0, le=100_000, description="Nodes of every group; left to others if not given."
    )
    period: float = Field(default=15.0, ge=1, le=3600, description="Seconds between two decisions.")


class Fixed:
    """The same number of replicas at every moment. It reads no metric, so a missing one changes nothing.

    Args:
        settings: for all clusters, or of each of N, which differ in VARIED alone.
    """

    def __init__(self, settings: FixedSettings | Sequence[FixedSettings]) -> None:
        each = (settings,) if isinstance(settings, FixedSettings) else settings
        self.settings = each[0]
        self._replicas = by_cluster([one.replicas for one in each])

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        return self.settings.period

    def decide(self, snapshot: Snapshot) -> Desired:
        """The fixed count, whatever the Snapshot shows."""
        settings, shape = self.settings, snapshot.wanted.shape
        reason = f"fixed at {settings.replicas}" if snapshot.wanted.ndim == 1 else ""
        groups = None if settings.nodes is None or snapshot.nodes is None else snapshot.nodes.ready
        return Desired(
            np.full_like(snapshot.wanted, self._replicas),
            reason,
            vcpu=None if settings.vcpu is None else np.full(shape, settings.vcpu),
            memory_gib=None if settings.memory_gib is None else np.full(shape, settings.memory_gib),
            nodes=None if groups is None else np.full_like(groups, settings.nodes),
        )

    def reset(self, mask: Mask | None = None) -> None:
        """There is nothing to forget."""


def make_fixed(settings: FixedSettings | Sequence[FixedSettings], context: Context) -> Fixed:
    """A Fixed policy, for all clusters or with settings for each; bounds that differ among services are the Guard's.

    Raises:
        InputError: if no service may have so many replicas, or there are no nodes to ask for.
    """
    low, high = int(context.min_replicas.min()), int(context.max_replicas.max())
    for one in (settings,) if isinstance(settings, FixedSettings) else settings:
        if not low <= one.replicas <= high:
            msg = f"policy fixed: replicas is {one.replicas}; the task allows {low} to {high}"
            raise InputError(msg)
        if one.nodes is not None and context.groups == ():
            msg = f"policy fixed: nodes is {one.nodes}, but the task has no nodes; leave it out"
            raise InputError(msg)
    return Fixed(settings)
