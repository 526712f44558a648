"""Alarms and cooldowns as AWS has them, on arrays: what target tracking and step scaling share.

Source: Amazon CloudWatch User Guide, "Using Amazon CloudWatch alarms"; Application Auto Scaling User
Guide, "Define cooldown periods".
"""

from __future__ import annotations

import numpy as np

from agents.policy import Mask
from simulator.arrays import Floats, Ints


class Alarm:
    """On while enough of the newest points breach its threshold ("M out of N").

    A missing point breaches nothing, so that missing data never turns an alarm on.

    Args:
        shape: of what is watched, ``(..., S)``.
        evaluated: how many points are looked at, N.
        to_alarm: how many of them have to breach, M.
    """

    def __init__(self, shape: tuple[int, ...], evaluated: int, to_alarm: int) -> None:
        self._breaches = np.zeros((evaluated, *shape), dtype=bool)
        self._to_alarm = to_alarm
        self._oldest = 0

    def observe(self, breaches: Mask) -> Mask:
        """Whether it is on after another point, bool ``(..., S)``."""
        self._breaches[self._oldest] = breaches
        self._oldest = (self._oldest + 1) % len(self._breaches)
        on: Mask = self._breaches.sum(axis=0) >= self._to_alarm
        return on

    def reset(self, mask: Mask) -> None:
        """Forget the points of the clusters under a mask ``(...)``."""
        self._breaches[:, mask] = False


class Cooldowns:
    """When what may scale, and from which capacity.

    After a scale-in no other one for a while; a scale-out is never blocked and ends that cooldown. In the
    cooldown after a scale-out what was added counts towards the next: wishes are made from the capacity
    before the scale-out that began the cooldown, and a further scale-out begins its time anew. A scale-in
    ends that cooldown.

    Args:
        shape: of the capacities, ``(..., S)``.
    """

    def __init__(self, shape: tuple[int, ...], out_seconds: float, in_seconds: float) -> None:
        self._out_seconds, self._in_seconds = out_seconds, in_seconds
        self._out_until, self._in_until = np.full(shape, -np.inf), np.full(shape, -np.inf)
        self._before = np.zeros(shape, dtype=np.int64)

    def base(self, capacity: Ints, now_seconds: Floats) -> Ints:
        """The capacity that a scale-out is counted from, int64 ``(..., S)``."""
        return np.where(now_seconds < self._out_until, self._before, capacity)

    def scale(self, capacity: Ints, wish_out: Ints, wish_in: Ints, now_seconds: Floats) -> Ints:
        """The new capacity, int64 ``(..., S)``; remembers what was scaled.

        Args:
            wish_out: what a scale-out wants; none where it is not above the capacity.
            wish_in: what a scale-in wants; none where it is not below the capacity.
            now_seconds: float64 that goes with ``(..., S)``.
        """
        out = wish_out > capacity
        in_ = ~out & (wish_in < capacity) & (now_seconds >= self._in_until)
        self._before = np.where(out, self.base(capacity, now_seconds), self._before)
        self._out_until = np.where(
            out, now_seconds + self._out_seconds, np.where(in_, -np.inf, self._out_until)
        )
        self._in_until = np.where(in_, now_seconds + self._in_seconds, np.where(out, -np.inf, self._in_until))
        return np.where(out, wish_out, np.where(in_, wish_in, capacity))

    def reset(self, mask: Mask) -> None:
        """End the cooldowns of the clusters under a mask ``(...)``."""
        self._out_until[mask] = self._in_until[mask] = -np.inf
