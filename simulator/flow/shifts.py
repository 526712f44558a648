"""What pods that are looked at one by one can do in each part of a step, all those of a service together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulator.arrays import Floats, Ints
from simulator.flow.needs import bursts, has_releases, is_delayed, needs_fleet
from simulator.scenario import Scenario


class Shifts(NamedTuple):
    """How many pods work in each part of a step; of no clusters where they are not looked at one by one.

    Attributes:
        ready: int64 ``(N, K, S)``; K parts.
        pace: float64 ``(N, K, S)``; see ``State``.
        failing: float64 ``(N, K, S)``; share of their calls that fail; of no clusters where no release is bad.
        delay: float64 ``(N, K, S, 3)``; cumulants of how much later answers come for where pods are, seconds to their
            powers; of no clusters where that is nowhere.
        cpu_share: float64 ``(N, K, S)``; what pods have of the CPU that they may use; of no clusters where that is all.
    """

    ready: Ints
    pace: Floats
    failing: Floats
    delay: Floats
    cpu_share: Floats


def make_shifts(scenario: Scenario, count: int, parts: int) -> Shifts:
    """For so many clusters and parts of a step."""
    shape = parts, len(scenario.system.services)

    def clusters(there: bool) -> tuple[int, int, int]:  # noqa: FBT001 - it is the question
        return count if there else 0, *shape

    is_there = needs_fleet(scenario)
    return Shifts(
        ready=np.zeros(clusters(is_there), np.int64),
        pace=np.zeros(clusters(is_there)),
        failing=np.zeros(clusters(has_releases(scenario))),
        delay=np.zeros((*clusters(is_delayed(scenario)), 3)),
        cpu_share=np.zeros(clusters(bursts(scenario))),
    )
