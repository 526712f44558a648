"""Clocks: the only place that reads the wall clock."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from simulator.plant import SimulatedPlant

_DECIMALS = 6


class Clock(Protocol):
    """What lets time pass for a control loop."""

    def now_seconds(self) -> float:
        """Seconds since the epoch."""
        ...

    def wait(self, seconds: float) -> bool:
        """Let seconds pass; False if the loop shall stop instead."""
        ...


class WallClock:
    """Real time; ``stop`` ends a wait at once, as a signal handler does.

    Waits follow each other without a gap: what was done between two of them does not make the
    period longer. What took longer than the period is not made up for.
    """

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._due: float | None = None

    def now_seconds(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def wait(self, seconds: float) -> bool:
        """Sleep until so long after the last wait ended, unless stopped."""
        now = time.monotonic()
        self._due = now + seconds if self._due is None else max(self._due + seconds, now)
        return not self._stopped.wait(self._due - now)

    def stop(self) -> None:
        """End the current wait and every later one."""
        self._stopped.set()


class VirtualClock:
    """The time of a simulated Plant: to wait is to advance it."""

    def __init__(self, plant: SimulatedPlant, duration_seconds: float) -> None:
        self._plant = plant
        self._now = 0.0
        self._end = duration_seconds

    def now_seconds(self) -> float:
        """Seconds since the simulation began."""
        return self._now

    def wait(self, seconds: float) -> bool:
        """Advance the Plant; False at the end, which cuts the last step."""
        step = min(seconds, self._end - self._now)
        if step > 0:
            self._plant.advance(step)
            self._now = round(self._now + step, _DECIMALS)
        return self._now < self._end
