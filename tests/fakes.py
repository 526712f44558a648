"""One fake for each seam; each can be told its next error."""

from __future__ import annotations

import dataclasses

import numpy as np

from simulator.plant import Desired, Interval, Metric, Snapshot
from simulator.pod_groups import PodGroup, PodGroups


class FakePlant:
    """A Plant of one service whose numbers are set by hand and whose pods start at once.

    Attributes:
        cpu: share of the request; NaN for missing.
        errors: raised one by one by the next calls of the named method.
    """

    def __init__(self, replicas: int = 4, cpu: float = 0.5, rate: float = 100.0) -> None:
        self.replicas = replicas
        self.cpu = cpu
        self.rate = rate
        self.now = 0.0
        self.applied: list[int] = []
        self.errors: dict[str, list[OSError]] = {"snapshot": [], "apply": []}

    def snapshot(self) -> Snapshot:
        """All pods ready, metrics 15 s old."""
        self._fail("snapshot")
        replicas = np.array([self.replicas])
        return Snapshot(
            time_seconds=np.array(self.now),
            wanted=replicas,
            starting=np.array([0]),
            ready=replicas,
            draining=np.array([0]),
            cpu=self._metric(self.cpu),
            rate=self._metric(self.rate),
            latency_p95=self._metric(0.1),
            queue=self._metric(0.0),
            pods={"cpu": self._groups()},
        )

    def apply(self, desired: Desired) -> None:
        """As asked, at once."""
        self._fail("apply")
        self.replicas = int(desired.replicas[0])
        self.applied.append(self.replicas)

    def advance(self, seconds: float) -> Interval | None:
        """Only time passes."""
        self.now += seconds
        return None

    def _fail(self, method: str) -> None:
        if self.errors[method]:
            raise self.errors[method].pop(0)

    @staticmethod
    def _metric(value: float) -> Metric:
        return Metric(np.array([value]), np.array([np.inf if np.isnan(value) else 15.0]))

    def _groups(self) -> PodGroups:
        none = PodGroup.empty((1,))
        requests = np.array([1000 * self.replicas])
        count = np.array([self.replicas])
        if np.isnan(self.cpu):
            missing = dataclasses.replace(none, count=count, request_milli=requests)
            return PodGroups(none, none, missing, none, np.array([np.inf]))
        usage = np.array([round(1000 * self.cpu * self.replicas)])
        counted = PodGroup(count, count, usage, requests)
        return PodGroups(counted, none, none, none, np.array([15.0]))


class FakeClock:
    """A clock that stops after a number of waits and moves a FakePlant's time."""

    def __init__(self, plant: FakePlant, waits: int) -> None:
        self._plant = plant
        self._left = waits

    def now_seconds(self) -> float:
        """The plant's time."""
        return self._plant.now

    def wait(self, seconds: float) -> bool:
        """Move on."""
        self._plant.now += seconds
        self._left -= 1
        return self._left > 0
