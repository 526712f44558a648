"""One policy for N clusters that do not all decide by the same settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from agents.policy import Mask, Policy
from simulator.arrays import Floats, Ints
from simulator.errors import InputError
from simulator.plant import Desired, Snapshot, take_clusters

Array = TypeVar("Array", Floats, Ints)


@dataclass(frozen=True, slots=True)
class Share:
    """Some of the N clusters, and the Policy that decides for them."""

    clusters: Ints | slice
    policy: Policy

    @staticmethod
    def of(places: list[int], policy: Policy) -> Share:
        """A share of clusters by their places, in rising order; even steps are a slice, which copies nothing."""
        step = places[1] - places[0] if len(places) > 1 else 1
        even = places == list(range(places[0], places[-1] + 1, step))
        return Share(slice(places[0], places[-1] + 1, step) if even else np.array(places), policy)


class Each:
    """Policies that decide each for its share of N clusters; axis N is first in all that is seen and asked for.

    Where a metric is missing, each does what it does alone.

    Args:
        shares: every cluster is in exactly one.

    Raises:
        InputError: if the policies' periods differ.
    """

    def __init__(self, shares: Sequence[Share]) -> None:
        self.period_seconds = _period_of([share.policy for share in shares])
        self._shares = tuple(shares)

    def decide(self, snapshot: Snapshot) -> Desired:
        """What each cluster's policy wishes for it."""
        wishes = [share.policy.decide(take_clusters(snapshot, share.clusters)) for share in self._shares]
        nodes = None if snapshot.nodes is None else snapshot.nodes.starting + snapshot.nodes.ready
        replicas = snapshot.wanted.copy()
        for share, wish in zip(self._shares, wishes, strict=True):
            replicas[share.clusters] = wish.replicas
        return Desired(
            replicas,
            vcpu=self._join("vcpu", wishes, snapshot.vcpu),
            memory_gib=self._join("memory_gib", wishes, snapshot.memory_gib),
            nodes=self._join("nodes", wishes, nodes),
        )

    def reset(self, mask: Mask | None = None) -> None:
        """Each forgets; with a mask ``(N,)``, only for the clusters where it is True."""
        for share in self._shares:
            share.policy.reset(None if mask is None else mask[share.clusters])

    def _join(self, name: str, wishes: list[Desired], shown: Array | None) -> Array | None:
        """One of Desired's arrays; who says nothing of it keeps what is shown."""
        parts = [getattr(wish, name) for wish in wishes]
        if all(part is None for part in parts):
            return None
        if shown is None and any(part is None for part in parts):
            msg = f"{name} is asked for, but the plant does not show it, so that others could keep theirs"
            raise InputError(msg)
        joined: Array = np.concatenate(parts) if shown is None else shown.copy()
        for share, part in zip(self._shares, parts, strict=True):
            if part is not None:
                joined[share.clusters] = part
        return joined


class Alone:
    """A Policy for each of N clusters, which it sees without the axis N, as if there were no other.

    It takes N times as long as one that decides for all. Forecasters refit, as those of a single cluster do.

    Args:
        policies: one a cluster; all of them ask for the same things, such as replicas alone.

    Raises:
        InputError: if the policies' periods differ.
    """

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = tuple(policies)
        self.period_seconds = _period_of(policies)

    def decide(self, snapshot: Snapshot) -> Desired:
        """What each cluster's policy wishes for it."""
        wishes = [
            policy.decide(take_clusters(snapshot, place)) for place, policy in enumerate(self._policies)
        ]
        return Desired(
            np.stack([wish.replicas for wish in wishes]),
            vcpu=_stacked([wish.vcpu for wish in wishes]),
            memory_gib=_stacked([wish.memory_gib for wish in wishes]),
            nodes=_stacked([wish.nodes for wish in wishes]),
        )

    def reset(self, mask: Mask | None = None) -> None:
        """Each forgets; with a mask ``(N,)``, only those where it is True."""
        for place, policy in enumerate(self._policies):
            if mask is None or mask[place]:
                policy.reset()


def _stacked(parts: list[Array | None]) -> Array | None:
    """One of Desired's arrays.

    Raises:
        ValueError: if some ask for it and others do not.
    """
    known = [part for part in parts if part is not None]
    if known and len(known) < len(parts):
        msg = (
            "policies that decide each alone must ask for the same things; some leave out what others ask for"
        )
        raise ValueError(msg)
    return np.stack(known) if known else None


def _period_of(policies: Sequence[Policy]) -> float:
    """The period of all of them."""
    periods = sorted({policy.period_seconds for policy in policies})
    if len(periods) != 1:
        found = " and ".join(f"{period:g} s" for period in periods)
        msg = f"policies that decide together have periods of {found}; give all of them the same period"
        raise InputError(msg)
    return periods[0]
