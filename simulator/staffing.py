"""What is there at the start: ready pods for the first load, on ready nodes."""

from __future__ import annotations

import numpy as np

from simulator.deployments import Deployments
from simulator.nodes import BOOTING, DRAINING, NodeGroup
from simulator.nodes import READY as NODE_READY
from simulator.pods import NO_NODE
from simulator.provisioning import Provisioner
from simulator.running import Running
from simulator.scenario import Scenario
from simulator.scheduler import NOWHERE, choose_node
from simulator.theory import square_root_staffing


class Staffing:
    """Staffs a cluster at time 0.

    Args:
        provisioner: None where pods need no nodes.
    """

    def __init__(
        self,
        scenario: Scenario,
        running: Running,
        deployments: Deployments,
        provisioner: Provisioner | None,
    ) -> None:
        self._scenario = scenario
        self._running = running
        self._deployments = deployments
        self._provisioner = provisioner

    def staff(self, rate_rps: float) -> None:
        """Want and have ready as many pods as a load needs, within the services' bounds.

        Pods for which there is no room wait for nodes as any other.
        """
        scenario, wanted = self._scenario, self._deployments.wanted
        for group, settings in enumerate(self._groups):
            for _ in range(settings.initial_nodes or settings.min_nodes):
                self._add_node(group)
        for index, (service, load) in enumerate(
            zip(self._running.services, scenario.system.load_seconds(), strict=True)
        ):
            slots = square_root_staffing(rate_rps * load, scenario.staffing_quality)
            pods = -(-slots // service.slots_per_pod)
            wanted[index] = min(max(pods, service.min_replicas), service.max_replicas)
            for _ in range(wanted[index]):
                node = self._node_for(index)
                if node == NOWHERE and self._groups:
                    break
                self._deployments.add_ready(index, node if self._groups else NO_NODE)
            self._deployments.reconcile(index)

    @property
    def _groups(self) -> tuple[NodeGroup, ...]:
        return self._scenario.cluster.groups if self._scenario.cluster else ()

    def _node_for(self, service: int) -> int:
        """A node with room for a pod, a new one if need be; NOWHERE where none may be added."""
        if self._scenario.cluster is None:
            return NOWHERE
        running = self._running
        nodes, pods = running.nodes, running.pods
        settings = running.services[service]
        request = running.usual_request(service)
        by_zone = np.bincount(nodes.zone[pods.node[pods.rows(service)]], minlength=len(nodes.zones))
        packing = self._scenario.cluster.packing
        node = choose_node(nodes, request, packing, by_zone, settings.region)
        if node != NOWHERE:
            return node
        counts = nodes.count_by_group(BOOTING, NODE_READY, DRAINING)
        able = [
            group
            for group, each in enumerate(self._groups)
            if settings.region in {None, each.region}
            and each.initial_nodes is None
            and counts[group] < each.max_nodes
            and (request <= each.allocatable).all()
        ]
        if not able:
            return NOWHERE
        return self._add_node(min(able, key=lambda group: int(by_zone[nodes.zone_of_group[group]])))

    def _add_node(self, group: int) -> int:
        return NOWHERE if self._provisioner is None else self._provisioner.add_ready(group)
