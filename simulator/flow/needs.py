"""What of the batch engine a Scenario needs; what it does not need, it does not pay for."""

from __future__ import annotations

from simulator.faults import BadRelease, MemoryLeak
from simulator.scenario import Scenario


def is_plain(scenario: Scenario) -> bool:
    """Whether one queue without anything else is all that requests meet."""
    return scenario.system.is_one_queue and not is_delayed(scenario)


def needs_fleet(scenario: Scenario) -> bool:
    """Whether pods have to be looked at one by one."""
    minimum = scenario.prices.minimum_billed_seconds if scenario.prices else 0.0
    return (
        scenario.cluster is not None
        or minimum > 0
        or any(each.wakes or each.warm_up or each.start_cpu_share for each in scenario.system.services)
        or has_releases(scenario)
        or leaks(scenario)
    )


def is_delayed(scenario: Scenario) -> bool:
    """Whether answers of pods on some nodes come later."""
    return scenario.cluster is not None and any(group.latency_seconds for group in scenario.cluster.groups)


def bursts(scenario: Scenario) -> bool:
    """Whether pods share what their nodes have left of CPU."""
    services = scenario.system.services
    return scenario.cluster is not None and any(each.most_vcpu > each.vcpu_per_pod for each in services)


def has_releases(scenario: Scenario) -> bool:
    """Whether a bad release may come."""
    return any(isinstance(fault, BadRelease) for fault in scenario.faults)


def leaks(scenario: Scenario) -> bool:
    """Whether pods may leak memory."""
    return any(isinstance(fault, MemoryLeak) for fault in scenario.faults)
