"""What one pod can do, apart from what its service says of all: its CPU, its speed, its faults; the CPU used."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from simulator.arrays import Floats


@dataclass(frozen=True, slots=True)
class Traits:
    """A pod's own settings.

    Attributes:
        vcpu: its CPU, above 0.
        speed: work done a core-second, above 0; below 1 where code is cold or a machine slow.
        delay_seconds: of each answer of a call that has finished there, on top of the network.
        error_probability: how often a call that has finished there fails all the same.
    """

    vcpu: float
    speed: float = 1.0
    delay_seconds: float = 0.0
    error_probability: float = 0.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: naming the one that is not possible.
        """
        for name, value, possible, allowed in (
            ("vcpu", self.vcpu, self.vcpu > 0, "above 0"),
            ("speed", self.speed, self.speed > 0, "above 0"),
            ("delay_seconds", self.delay_seconds, self.delay_seconds >= 0, "at least 0"),
            ("error_probability", self.error_probability, 0 <= self.error_probability <= 1, "0 to 1"),
        ):
            if not (possible and math.isfinite(value)):
                msg = f"{name} is {value!r}; must be {allowed}"
                raise ValueError(msg)

    def changed(
        self,
        vcpu: float | None = None,
        speed: float | None = None,
        delay_seconds: float | None = None,
        error_probability: float | None = None,
    ) -> Traits:
        """The same but for what is given."""
        given = {
            "vcpu": vcpu,
            "speed": speed,
            "delay_seconds": delay_seconds,
            "error_probability": error_probability,
        }
        return replace(self, **{name: value for name, value in given.items() if value is not None})


class PodCpu:
    """CPU of pods by busy-slot seconds, where pods may have another CPU than usual for some of the time.

    Args:
        cores_per_slot: as usual.
    """

    def __init__(self, cores_per_slot: float) -> None:
        self._usual = cores_per_slot
        self._odd: dict[int, tuple[float, float]] = {}
        self._before: dict[int, float] = {}
        self._gone = 0.0

    def set(self, pod: int, cores_per_slot: float, busy_seconds: Floats) -> None:
        """Let a pod's slots use so many cores each from now on."""
        extra = self._extra(pod, busy_seconds)
        if cores_per_slot != self._usual:
            self._odd[pod] = cores_per_slot - self._usual, float(busy_seconds[pod])
        else:
            self._odd.pop(pod, None)
        if extra:
            self._before[pod] = extra

    def release(self, pod: int, busy_seconds: Floats) -> None:
        """A pod is gone; what it used stays in the sum of all."""
        self._gone += self._extra(pod, busy_seconds)
        self._odd.pop(pod, None)
        self._before.pop(pod, None)

    def of_pods(self, busy_seconds: Floats) -> Floats:
        """float64 by pod row; core-seconds of so many busy-slot seconds by pod row."""
        used = busy_seconds * self._usual
        for pod in self._odd.keys() | self._before.keys():
            used[pod] += self._extra(pod, busy_seconds)
        return used

    def of_all(self, total: float, busy_seconds: Floats) -> float:
        """Core-seconds of all pods that ever were, whose busy-slot seconds are ``total``."""
        extra = sum(self._extra(pod, busy_seconds) for pod in sorted(self._odd.keys() | self._before.keys()))
        return total * self._usual + (self._gone + extra)

    def _extra(self, pod: int, busy_seconds: Floats) -> float:
        """Core-seconds of a pod beyond the usual ones."""
        more, since = self._odd.get(pod, (0.0, 0.0))
        return self._before.get(pod, 0.0) + more * (float(busy_seconds[pod]) - since)
