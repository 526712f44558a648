"""What faults do at the moment, for all parts of a cluster that feel it."""

from __future__ import annotations

import math
from typing import TypeVar

import simpy

from simulator.faults import Fault, RegionLoss, ServiceFault, StockOut, ZoneLoss
from simulator.nodes import NodeGroup

Kind = TypeVar("Kind", bound=Fault)


class Effects:
    """The faults that go on.

    Attributes:
        changed: happens when one begins or ends; then there is another.
    """

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._active: list[Fault] = []
        self._since: dict[type[Fault], float] = {}
        self.changed: simpy.Event = env.event()

    def begin(self, fault: Fault) -> None:
        """A fault begins."""
        if not self.of(type(fault)):
            self._since[type(fault)] = self._env.now
        self._active.append(fault)
        self._tell()

    def end(self, fault: Fault) -> None:
        """It is over."""
        self._active.remove(fault)
        self._tell()

    def _tell(self) -> None:
        told, self.changed = self.changed, self._env.event()
        told.succeed()

    def of(self, kind: type[Kind], service: str | None = None) -> list[Kind]:
        """The faults of a kind that go on, with a service those that hit it."""
        found: list[Kind] = [fault for fault in self._active if isinstance(fault, kind)]
        if service is None:
            return found
        return [f for f in found if isinstance(f, ServiceFault) and f.service in {None, service}]

    def since(self, kind: type[Fault]) -> float:
        """Since when there has been a fault of a kind without a break, inf where there is none."""
        return self._since[kind] if self.of(kind) else math.inf

    def launches_fail(self, group: NodeGroup) -> bool:
        """Whether a node group can get no nodes."""
        return (
            any(fault.group == group.name for fault in self.of(StockOut))
            or any(fault.region == group.region for fault in self.of(RegionLoss))
            or any((fault.region, fault.zone) == (group.region, group.zone) for fault in self.of(ZoneLoss))
        )
