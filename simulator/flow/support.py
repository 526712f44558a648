"""What the batch engine does not model, by name."""

from __future__ import annotations

import math
from graphlib import CycleError

from simulator.errors import InputError
from simulator.faults import MemoryLeak
from simulator.flow.graph import services_in_order
from simulator.operation import Call
from simulator.scenario import Scenario
from simulator.service import Service


def check_supported(scenario: Scenario) -> None:
    """Raises InputError for what the batch engine does not model."""
    lacks = [
        f"faults of kind {fault.kind} where requests take memory"
        for fault in scenario.faults
        if isinstance(fault, MemoryLeak)
        and any(_takes_memory(fault, each) for each in scenario.system.services)
    ]
    try:
        services_in_order(scenario.system)
    except CycleError:
        lacks.append("services that call each other in a circle")
    entries = [group.entry for group in scenario.system.classes]
    lacks += [f"{what} of clients" for what in _lacking_calls(entries)]
    for service in scenario.system.services:
        lacks += [f"{what} of service {service.name}" for what in _lacking(service)]
    if lacks:
        msg = f"the batch engine does not model: {'; '.join(lacks)}. The request engine does"
        raise InputError(msg)


def _lacking(service: Service) -> list[str]:
    """What of a service is not modelled."""
    calls = [call for operation in service.all_operations for step in operation.steps for call in step]
    return ["memory that may run out"] * _may_run_out(service) + _lacking_calls(calls)


def _takes_memory(fault: MemoryLeak, service: Service) -> bool:
    """Whether requests of a service that a fault hits take memory."""
    return fault.service in {None, service.name} and service.memory.gib_per_request > 0


def _may_run_out(service: Service) -> bool:
    """Whether what a pod works on could use more memory than it may."""
    waiting = 0 if service.dispatch == "shared" else service.queue_limit_per_pod or math.inf
    requests = service.slots_per_pod + waiting
    memory = service.memory
    used = memory.gib_per_request * requests if memory.gib_per_request else 0.0
    return memory.base_gib + used > memory.most_gib


def _lacking_calls(calls: list[Call]) -> list[str]:
    """What of calls is not modelled."""
    return ["circuit breakers"] if any(call.breaker for call in calls) else []
