"""What the batch engine does not model, by name."""

from __future__ import annotations

from graphlib import CycleError

from simulator.errors import InputError
from simulator.flow.faults import MODELLED
from simulator.flow.graph import services_in_order
from simulator.operation import Call
from simulator.scenario import Scenario
from simulator.service import Service


def check_supported(scenario: Scenario) -> None:
    """Raises InputError for what the batch engine does not model."""
    lacks = [
        what
        for what, there in (
            ("nodes", scenario.cluster is not None),
            *((f"faults of kind {fault.kind}", not isinstance(fault, MODELLED)) for fault in scenario.faults),
        )
        if there
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
    return [
        what
        for what, there in (
            ("batching", service.discipline == "batching"),
            ("load shedding", service.shedding is not None),
            ("waking from zero", service.wakes),
            ("warm-up", service.warm_up is not None),
            ("CPU use while starting", service.start_cpu_share > 0),
            ("memory use", service.memory.base_gib + service.memory.gib_per_request > 0),
            ("throwing away what has expired", service.discards_expired),
        )
        if there
    ] + _lacking_calls(calls)


def _lacking_calls(calls: list[Call]) -> list[str]:
    """What of calls is not modelled."""
    there = {
        "circuit breakers": any(call.breaker for call in calls),
        "fallbacks": any(call.fallback for call in calls),
    }
    return [what for what, is_there in there.items() if is_there]
