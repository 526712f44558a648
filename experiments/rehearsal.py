"""The real control loop on a simulated Plant in virtual time."""

from __future__ import annotations

from collections.abc import Callable

from agents.registry import make
from controllers.clock import VirtualClock
from controllers.loop import Loop, Record
from envs.task import Task
from experiments.measures import Tally
from experiments.run import make_context
from simulator.cluster import Cluster
from simulator.plant import Desired, Interval, Snapshot
from simulator.trace import Split


class _Measured:
    """A cluster that adds up what happens in it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._changed = False
        self.tally = Tally()

    def snapshot(self) -> Snapshot:
        return self._cluster.snapshot()

    def apply(self, desired: Desired) -> None:
        self._changed = True
        self._cluster.apply(desired)

    def advance(self, seconds: float) -> Interval:
        interval = self._cluster.advance(seconds)
        self.tally.add(interval, changed=self._changed)
        self._changed = False
        return interval


def rehearse(
    task: Task, split: Split, policy: str, seed: int, journal: Callable[[Record], None]
) -> dict[str, float]:
    """Run the loop over the judged part; the measures of what happened."""
    plant = _Measured(task.build(seed, split.judged))
    clock = VirtualClock(plant, split.judged.duration_seconds)
    made = make(policy, make_context(task, split.history, seed, split.judged.start_seconds))
    Loop(plant, made, task.interface.new_guard(), clock, journal).run()
    return plant.tally.measures()
