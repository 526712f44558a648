"""The limits that every Desired passes, once."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from simulator.arrays import Floats, Ints
from simulator.plant import Desired, Snapshot
from simulator.settings import Settings


class GuardOptions(Settings):
    """Limits beside the bounds; each is off unless asked for, so that rules stay exact."""

    max_step_up: int | None = Field(default=None, ge=1, description="Most replicas added in one decision.")
    max_step_down: int | None = Field(
        default=None, ge=1, description="Most replicas removed in one decision."
    )
    cooldown_seconds: float = Field(default=0.0, ge=0, description="No change so long after a change.")
    stabilization_seconds: float = Field(
        default=0.0, ge=0, description="Scale down no further than the highest wish of this window."
    )
    frozen: bool = Field(default=False, description="Change nothing but what the bounds force.")


class GuardSettings(GuardOptions):
    """Bounds by service, and further limits."""

    min_replicas: tuple[int, ...] = Field(description="Fewest replicas, by service.")
    max_replicas: tuple[int, ...] = Field(description="Most replicas, by service.")

    @model_validator(mode="after")
    def _bounds(self) -> GuardSettings:
        if len(self.min_replicas) != len(self.max_replicas):
            msg = "min_replicas and max_replicas must name the same services"
            raise ValueError(msg)
        for low, high in zip(self.min_replicas, self.max_replicas, strict=True):
            if not 0 <= low <= high:
                msg = f"min_replicas ({low}) must be at least 0 and at most max_replicas ({high})"
                raise ValueError(msg)
        return self


class Guard:
    """GuardSettings at work; remembers changes and wishes where the settings need it."""

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        self._min = np.array(settings.min_replicas, dtype=np.int64)
        self._max = np.array(settings.max_replicas, dtype=np.int64)
        self._seen_seconds: Floats | None = None
        self._seen_wanted: Ints | None = None
        self._changed_seconds: Floats | None = None
        self._wishes: deque[tuple[Floats, Ints]] = deque()

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Forget changes and wishes; with a mask ``(...)``, only where it is True."""
        if mask is None:
            self._seen_seconds = self._seen_wanted = self._changed_seconds = None
            self._wishes.clear()
            return
        for seconds in (self._seen_seconds, self._changed_seconds):
            if seconds is not None:
                seconds[mask] = -np.inf
        for _, wish in self._wishes:
            wish[mask] = 0

    def limits(self, snapshot: Snapshot) -> tuple[Ints, Ints]:
        """Fewest and most replicas that would pass now: two int64 ``(..., S)``."""
        low, high = self._limits(snapshot, self._held(snapshot))
        return np.broadcast_to(low, snapshot.wanted.shape), np.broadcast_to(high, snapshot.wanted.shape)

    def allow(self, snapshot: Snapshot, wish: Desired) -> Desired:
        """The wish within the limits; remembers it."""
        if self.settings.stabilization_seconds:
            self._wishes.append((snapshot.time_seconds.copy(), wish.replicas.copy()))
        held = self._held(snapshot)
        low, high = self._limits(snapshot, held)
        replicas = np.minimum(np.maximum(wish.replicas, low), high)
        if self.settings.cooldown_seconds:
            self._changed_seconds = self._last_change(snapshot)
            self._seen_seconds = np.broadcast_to(
                snapshot.time_seconds[..., np.newaxis], replicas.shape
            ).copy()
            self._seen_wanted = snapshot.wanted.copy()
        if held is not None and held.any():
            return Desired(replicas, wish.reason)
        return replace(wish, replicas=replicas)

    def _limits(self, snapshot: Snapshot, held: NDArray[np.bool_] | None) -> tuple[Ints, Ints]:
        """The limits, int64 ``(..., S)`` or ``(S,)`` where they are the bounds."""
        settings, wanted = self.settings, snapshot.wanted
        low, high = self._min, self._max
        if settings.max_step_down is not None:
            low = np.maximum(low, wanted - settings.max_step_down)
        if settings.max_step_up is not None:
            high = np.minimum(high, wanted + settings.max_step_up)
        if settings.stabilization_seconds:
            low = np.maximum(low, np.minimum(self._highest_wish(snapshot), wanted))
        if held is not None:
            low, high = np.where(held, wanted, low), np.where(held, wanted, high)
        if low is self._min and high is self._max:
            return low, high
        return np.clip(low, self._min, self._max), np.clip(high, self._min, self._max)

    def _held(self, snapshot: Snapshot) -> NDArray[np.bool_] | None:
        """Where nothing may change now: bool ``(..., S)``, None for nowhere."""
        if self.settings.frozen:
            return np.ones(snapshot.wanted.shape, dtype=bool)
        if not self.settings.cooldown_seconds:
            return None
        since = snapshot.time_seconds[..., np.newaxis] - self._last_change(snapshot)
        return np.asarray(since < self.settings.cooldown_seconds)

    def _last_change(self, snapshot: Snapshot) -> Floats:
        """When the decision was made that changed what is wanted; a change the Plant refused is none."""
        if self._seen_seconds is None or self._seen_wanted is None or self._changed_seconds is None:
            return np.full(snapshot.wanted.shape, -np.inf)
        changed = snapshot.wanted != self._seen_wanted
        return np.where(changed, self._seen_seconds, self._changed_seconds)

    def _highest_wish(self, snapshot: Snapshot) -> Ints:
        oldest = snapshot.time_seconds - self.settings.stabilization_seconds
        while self._wishes and (self._wishes[0][0] <= oldest).all():
            self._wishes.popleft()
        highest = np.zeros_like(snapshot.wanted)
        for seconds, wish in self._wishes:
            recent = (seconds > oldest)[..., np.newaxis]
            highest = np.maximum(highest, np.where(recent, wish, 0))
        return highest
