"""Health checks: traffic goes elsewhere where a service has no ready pod."""

from __future__ import annotations

from collections.abc import Generator

import simpy

from simulator.dataplane import DataPlane
from simulator.deployments import Deployments
from simulator.pods import READY
from simulator.running import Running


def check_health(
    running: Running, plane: DataPlane, deployments: Deployments, service: int
) -> Generator[simpy.Event]:
    """Divert a service's calls to their fallbacks after so many failed checks, and back after as many good ones.

    A service that sleeps is well: its first call has to wake it.
    """
    rule = running.services[service].health_check
    diverted, against = False, 0
    while True:
        yield running.env.timeout(rule.every_seconds)
        asleep = running.services[service].wakes and not deployments.wanted[service]
        healthy = bool(running.pods.counts[READY, service]) or asleep
        against = against + 1 if healthy == diverted else 0
        if against < rule.threshold:
            continue
        running.catch_up()
        diverted, against = not diverted, 0
        plane.divert(service, diverted)
        running.record("traffic diverted" if diverted else "traffic back", service=service)
