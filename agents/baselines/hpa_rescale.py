"""Steps 0 and 3 to 6 of the Kubernetes HPA put together: from a proposal to the count to set.

Source: kubernetes/kubernetes pkg/controller/podautoscaler/horizontal.go (``reconcileAutoscaler``,
``normalizeDesiredReplicasWithBehaviors``, ``recordInitialRecommendation``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.baselines.hpa_behavior import (
    CONTROLLER_WINDOW_SECONDS,
    Behavior,
    Bounds,
    GrowthLimit,
    Limited,
    Log,
    ScaleEvents,
    Seconds,
    filled_down,
    filled_up,
    limit_without_behavior,
    stabilize,
    stabilize_without_behavior,
)
from agents.policy import Mask
from simulator.arrays import Floats, Ints


@dataclass(frozen=True, slots=True)
class Rescale:
    """One pass after the proposal; every array is ``(..., S)``.

    Attributes:
        replicas: the count to set.
        stabilized: the count before the limits.
        limit: what the limits changed, LimitReason.
        outside: where the current count was out of bounds or 0, and nothing else was looked at.
    """

    replicas: Ints
    stabilized: Ints
    limit: Limited
    outside: Mask


class Rescaler:
    """Steps 0 and 3 to 6 of the HPA for clusters of one shape, and what they remember.

    Args:
        shape: of the counts, ``(..., S)``.
        bounds: int64 ``(S,)`` each.
        behavior: None for an HPA without any.
        window_seconds: ``--horizontal-pod-autoscaler-downscale-stabilization``; one for all, or an array that
            goes with the shape.
        growth: limit without behavior.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        bounds: Bounds,
        behavior: Behavior | None,
        window_seconds: Seconds = CONTROLLER_WINDOW_SECONDS,
        growth: GrowthLimit | None = None,
    ) -> None:
        self.shape, self.bounds = shape, bounds
        self.proposals = Log(shape)
        self._window_seconds, self._growth = window_seconds, growth or GrowthLimit()
        self._fresh: Mask | None = np.ones(shape, dtype=bool)
        self._asked: tuple[Ints, Ints, Floats] | None = None
        self.events: ScaleEvents | None = None
        if behavior is not None:
            up, down = filled_up(behavior.scale_up), filled_down(behavior.scale_down, window_seconds)
            self.events = ScaleEvents(shape, up, down)

    def reset(self, mask: Mask) -> None:
        """Forget the clusters under a mask ``(...)``."""
        if self._fresh is None:
            self._fresh = np.zeros(self.shape, dtype=bool)
        self._fresh[mask] = True
        if self._asked is not None:
            before, asked, _ = self._asked
            asked[mask] = before[mask]
        self.proposals.reset(mask)
        if self.events is not None:
            self.events.reset(mask)

    def rescale(self, current: Ints, now_seconds: Floats, proposal: Ints, valid: Mask) -> Rescale:
        """One pass; where the proposal is not valid, and the count within bounds, nothing happens.

        A change is remembered by the next pass, where it is seen to have happened: upstream, too,
        remembers none that the API server refused.
        """
        self._remember(current)
        if self._fresh is not None:
            self.proposals.write(current, now_seconds, np.inf, self._fresh)
            self._fresh = None
        bounded = np.minimum(np.maximum(current, self.bounds.fewest), self.bounds.most)
        outside = bounded != current
        if outside.any():
            bounded = np.where(current == 0, 0, bounded)
            valid = valid & ~outside
        free = None if valid.all() else valid
        stabilized = self.stabilize(current, now_seconds, proposal, free)
        limit = self.limit(current, stabilized, now_seconds)
        replicas = limit.replicas if free is None else np.where(free, limit.replicas, bounded)
        self._asked = current.copy(), replicas.copy(), now_seconds.copy()
        return Rescale(replicas, stabilized, limit, outside)

    def _remember(self, current: Ints) -> None:
        if self._asked is None or self.events is None:
            return
        before, asked, seconds = self._asked
        self.events.store(before, np.where(current == asked, asked, before), seconds)

    def stabilize(
        self, current: Ints, now_seconds: Floats, proposal: Ints, where: Mask | None = None
    ) -> Ints:
        """Step 3: the stabilised count, int64 ``(..., S)``; the proposal is logged where asked."""
        log = self.proposals
        if self.events is None:
            oldest: Seconds = self._window_seconds
            stabilized = stabilize_without_behavior(log, now_seconds, proposal, oldest)
        else:
            windows = (self.events.up.window_seconds, self.events.down.window_seconds)
            oldest = np.maximum(*windows)
            stabilized = stabilize(log, now_seconds, current, proposal, windows)
        log.write(proposal, now_seconds, oldest, where)
        return stabilized

    def limit(self, current: Ints, stabilized: Ints, now_seconds: Floats) -> Limited:
        """Steps 4 and 5: what rate policies and bounds leave of the stabilised count."""
        if self.events is None:
            return limit_without_behavior(current, stabilized, self.bounds, self._growth)
        return self.events.limit(current, stabilized, self.bounds, now_seconds)
