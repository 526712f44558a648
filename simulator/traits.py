"""What one pod can do, apart from what its service says of all: its CPU, its speed, its faults."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


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
