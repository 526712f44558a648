"""Nodes' lives: launched, booted, drained, taken back, lost; by hand or by the node autoscaler."""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np
import simpy

from simulator.arrays import Ints
from simulator.cluster_settings import ClusterSettings
from simulator.effects import Effects
from simulator.kubelet import Kubelet
from simulator.node_autoscaler import (
    Consolidation,
    Demand,
    NodeAutoscaler,
    Option,
    expand,
    free_room,
    left_over,
    nodes_needed,
    utilization,
)
from simulator.nodes import BOOTING, CPU, DRAINING, GONE, MEMORY, READY, Nodes
from simulator.pods import LOST
from simulator.prices import SECONDS_PER_HOUR
from simulator.running import Running
from simulator.scheduler import Scheduler

Life = Generator[simpy.Event, object, None]
_REFUSED_SECONDS = 5.0
"""How soon a cloud says that it has no capacity."""


class Provisioner:
    """Launches and removes nodes.

    Args:
        lives: of boot times, refusals, interruptions and the expander ``random``.
        reconcile: called with a service whose pods have to be replaced.
    """

    def __init__(
        self,
        running: Running,
        settings: ClusterSettings,
        scheduler: Scheduler,
        kubelet: Kubelet,
        effects: Effects,
        lives: np.random.Generator,
        reconcile: Callable[[int], None],
    ) -> None:
        self._running = running
        self._settings = settings
        self._scheduler = scheduler
        self._kubelet = kubelet
        self._effects = effects
        self._lives = lives
        self._reconcile = reconcile
        self._regions = np.array([group.region for group in settings.groups])
        self._processes: dict[int, simpy.Process] = {}
        self._rests_until = np.zeros(len(settings.groups))
        self._back_off = np.zeros(len(settings.groups))
        self._unanswered = np.zeros(len(settings.groups), dtype=np.int64)
        self._is_by_hand = False
        self._held = np.zeros(len(settings.groups), dtype=np.int64)
        if settings.autoscaler is not None:
            self._held += [group.min_nodes for group in settings.groups]
        self._last_add = -np.inf
        self._unneeded_since: dict[int, float] = {}
        self._removals: dict[int, bool] = {}
        self.launched = np.zeros(len(settings.groups), dtype=np.int64)
        """int64 ``(G,)``; nodes launched since the beginning."""
        kubelet.told_room = self._room
        running.env.process(self._scan(settings.autoscaler or NodeAutoscaler()))

    @property
    def _nodes(self) -> Nodes:
        return self._running.nodes

    def add_ready(self, group: int) -> int:
        """A node that has been there since before the beginning; its row."""
        node = self._nodes.add(group, self._running.now)
        self.launched[group] += 1
        self._register(node)
        self._running.record("node launched", node=node, detail=self._settings.groups[group].name)
        self._running.record("node ready", node=node)
        self._processes[node] = self._running.env.process(self._serve(node))
        return node

    def resize(self, wanted: Ints) -> None:
        """Launch or remove nodes until each group has so many, int64 ``(G,)``, within bounds; emptiest ones go first.

        From then on each group holds its size, as a cloud's scaling group does: nodes that are lost or
        refused are launched anew. The node autoscaler stands aside: one hand alone may set the sizes.
        """
        self._is_by_hand = True
        self._running.record("nodes wanted", detail=" ".join(map(str, wanted)))
        groups = self._settings.groups
        low, high = (
            np.array([getattr(each, name) for each in groups]) for name in ("min_nodes", "max_nodes")
        )
        self._held = np.clip(wanted, low, high)
        self._hold()
        for group, count in enumerate(self._held.tolist()):
            rows = self._nodes.of_group(group, BOOTING, READY)
            pods = self._nodes.requested[rows, -1]
            order = np.lexsort((-rows, pods, self._nodes.phase[rows] != BOOTING))
            for node in rows[order][: max(len(rows) - count, 0)].tolist():
                self.drain(node)

    def launch(self, group: int) -> None:
        """Ask the cloud for a node."""
        settings = self._settings.groups[group]
        out = self._lives.random() < settings.stock_out_probability
        self._last_add = self._running.now
        if out or self._effects.launches_fail(settings):
            self._running.record("launch refused", detail=settings.name)
            self._unanswered[group] += 1
            self._running.env.process(self._refused(group))
            return
        node = self._nodes.add(group, self._running.now)
        self.launched[group] += 1
        self._running.record("node launched", node=node, detail=settings.name)
        self._processes[node] = self._running.env.process(self._boot(node))

    def drain(self, node: int) -> None:
        """Take no more pods, move those that are there, and be gone."""
        if self._nodes.phase[node] not in {BOOTING, READY}:
            return
        booting = self._nodes.phase[node] == BOOTING
        self._stop(node)
        self._nodes.phase[node] = DRAINING
        self._running.record("node draining", node=node)
        if booting:
            self._go(node)
            return
        self._processes[node] = self._running.env.process(self._shut_down(node))
        self._evict(node)

    def lose(self, node: int) -> None:
        """A node dies; the control plane notices later."""
        if self._nodes.phase[node] == GONE:
            return
        self._stop(node)
        self._nodes.phase[node] = DRAINING  # so that no pod goes to the room that others leave
        for row in self._kubelet.rows_on(node).tolist():
            if self._running.pods.node[row] == node:
                self._kubelet.lose(row)
        self._go(node)
        self._running.env.process(self._notice(node))

    def _room(self, node: int) -> None:
        """A pod has left a node."""
        del node
        self._scheduler.kick()

    def _register(self, node: int) -> None:
        self._nodes.phase[node] = READY
        self._nodes.ready[node] = self._running.now

    def _boot(self, node: int) -> Life:
        running = self._running
        group = self._settings.groups[int(self._nodes.group[node])]
        seconds = float(group.boot.sample(self._lives, 1)[0])
        scaler = self._settings.autoscaler
        try:
            if scaler is not None and seconds > scaler.max_provision_seconds:
                yield running.env.timeout(scaler.max_provision_seconds)
                running.record("launch given up", node=node)
                self._processes.pop(node, None)
                self._go(node)
                self._rest(int(self._nodes.group[node]))
                return
            yield running.env.timeout(seconds)
        except simpy.Interrupt:
            return
        self._register(node)
        self._back_off[int(self._nodes.group[node])] = 0.0
        running.record("node ready", node=node)
        self._processes[node] = running.env.process(self._serve(node))
        self._scheduler.kick()

    def _serve(self, node: int) -> Life:
        """A spot node serves until it is taken back."""
        spot = self._settings.groups[int(self._nodes.group[node])].spot
        if spot is None or spot.interruptions_per_hour == 0:
            return
        running = self._running
        try:
            yield running.env.timeout(
                float(self._lives.exponential(SECONDS_PER_HOUR / spot.interruptions_per_hour))
            )
            running.record("node warned", node=node, detail=f"{spot.notice_seconds:g} s")
            self._nodes.phase[node] = DRAINING
            self._evict(node)
            yield running.env.timeout(spot.notice_seconds)
        except simpy.Interrupt:
            return
        self._processes.pop(node, None)
        self.lose(node)

    def _evict(self, node: int) -> None:
        """Tell all pods of a node to go; those that replace them are created at once."""
        rows = self._kubelet.rows_on(node).tolist()
        services = sorted({int(self._running.pods.service[row]) for row in rows})
        for row in rows:
            if self._running.pods.node[row] == node:
                self._kubelet.remove(row)
        for service in services:
            self._reconcile(service)

    def _shut_down(self, node: int) -> Life:
        """Wait for the pods, then for the machine."""
        env = self._running.env
        try:
            while self._kubelet.rows_on(node).size:
                yield env.timeout(1.0)
                self._running.catch_up()
            yield env.timeout(self._settings.groups[int(self._nodes.group[node])].shutdown_seconds)
        except simpy.Interrupt:
            return
        self._processes.pop(node, None)
        self._go(node)

    def _refused(self, group: int) -> Life:
        yield self._running.env.timeout(_REFUSED_SECONDS)
        self._unanswered[group] -= 1
        self._rest(group)

    def _notice(self, node: int) -> Life:
        yield self._running.env.timeout(self._settings.detection_seconds)
        pods = self._running.pods
        lost = np.flatnonzero((pods.node == node) & (pods.phase == LOST)).tolist()
        services = sorted({int(pods.service[row]) for row in lost})
        for row in lost:
            self._kubelet.forget(row)
        for service in services:
            self._reconcile(service)

    def _go(self, node: int) -> None:
        self._nodes.phase[node] = GONE
        self._nodes.gone[node] = self._running.now
        self._unneeded_since.pop(node, None)
        self._removals.pop(node, None)
        self._running.record("node gone", node=node)

    def _stop(self, node: int) -> None:
        process = self._processes.pop(node, None)
        if process is not None and process.is_alive and process is not self._running.env.active_process:
            process.interrupt()

    def _rest(self, group: int) -> None:
        """Leave a group alone after a failed launch; launches that fail together count once.

        Source: cluster-autoscaler utils/backoff/exponential_backoff.go.
        """
        scaler = self._settings.autoscaler or NodeAutoscaler()
        if self._rests_until[group] < self._running.now:
            doubled = max(2 * self._back_off[group], scaler.back_off_seconds)
            self._back_off[group] = min(doubled, scaler.back_off_cap_seconds)
        self._rests_until[group] = self._running.now + self._back_off[group]

    def _scan(self, scaler: NodeAutoscaler) -> Life:
        """The node autoscaler's loop; where there is none, or a policy sets the sizes, they are held alone."""
        while True:
            yield self._running.env.timeout(scaler.scan_seconds)
            self._hold()
            if self._is_by_hand or self._settings.autoscaler is None:
                continue
            is_coming = self._scale_up(scaler)
            self._watch(scaler)
            if not is_coming:
                self._scale_down(scaler)

    def _hold(self) -> None:
        """Launch what is missing of the nodes that groups hold, but for groups that rest."""
        missing = self._held - self._nodes.count_by_group(BOOTING, READY) - self._unanswered
        for group in np.flatnonzero(self._rests_until <= self._running.now).tolist():
            for _ in range(int(missing[group])):
                self.launch(group)

    def _scale_up(self, scaler: NodeAutoscaler) -> bool:
        """Launch nodes of one group for the pods that wait and have no node on its way.

        Returns:
            Whether some pod that waits has a node on its way, a new one or one from before: none is removed
            then. Pods that no group can help keep no other node.

        Source: cluster-autoscaler core/static_autoscaler.go, core/podlistprocessor/filter_out_schedulable.go.
        """
        waiting = self._scheduler.demands()
        booting = self._nodes.group[self._nodes.rows(BOOTING)]
        asked = np.repeat(np.arange(len(self._unanswered)), self._unanswered)
        coming = np.concatenate([booting, asked])
        demands, _ = left_over(waiting, self._nodes.allocatable[coming], self._regions[coming])
        best = expand(self._options(demands), scaler.expander, self._lives) if demands else []
        if best:
            chosen = best[int(self._lives.integers(len(best)))] if len(best) > 1 else best[0]
            for _ in range(chosen.node_count):
                self.launch(chosen.group)
        return bool(best) or _pods(demands) < _pods(waiting)

    def _options(self, demands: list[Demand]) -> list[Option]:
        counts = self._nodes.count_by_group(BOOTING, READY, DRAINING) + self._unanswered
        options = []
        for group, settings in enumerate(self._settings.groups):
            room = settings.max_nodes - int(counts[group])
            if room <= 0 or self._rests_until[group] > self._running.now:
                continue
            local = [demand for demand in demands if demand.region in {None, settings.region}]
            nodes, pods, request = nodes_needed(local, settings.allocatable, room)
            if pods:
                usd = settings.usd_per_second * SECONDS_PER_HOUR
                options.append(
                    Option(group, nodes, pods, request, settings.allocatable, usd, settings.priority)
                )
        return options

    def _watch(self, scaler: NodeAutoscaler) -> None:
        """Note since when nodes have not been needed."""
        now = self._running.now
        self._unneeded_since = {node: self._unneeded_since.get(node, now) for node in self._unneeded(scaler)}

    def _scale_down(self, scaler: NodeAutoscaler) -> None:
        """Remove nodes that have not been needed for long: empty ones together, others one by one.

        Source: cluster-autoscaler core/scaledown/budgets/budgets.go: removals that go on count.
        """
        now = self._running.now
        if now - self._last_add < scaler.after_add_seconds:
            return
        counts = self._nodes.count_by_group(BOOTING, READY)
        for node, since in list(self._unneeded_since.items()):
            group = int(self._nodes.group[node])
            too_few = counts[group] <= self._settings.groups[group].min_nodes
            occupied = bool(self._kubelet.rows_on(node).size)
            too_many = len(self._removals) >= scaler.max_removed_at_once or (
                occupied and sum(self._removals.values()) >= scaler.max_drains_at_once
            )
            if now - since < scaler.unneeded_seconds or too_few or too_many:
                continue
            counts[group] -= 1
            self._removals[node] = occupied
            self.drain(node)

    def _unneeded(self, scaler: NodeAutoscaler) -> list[int]:
        """Nodes whose pods would fit on the others, the least used first."""
        nodes = self._nodes
        rows = nodes.rows(READY)
        if scaler.consolidation is None:
            rows = rows[utilization(nodes, rows) < scaler.utilization_threshold]
        order = np.lexsort((-rows, nodes.requested[rows, MEMORY], nodes.requested[rows, CPU]))
        free, regions = free_room(nodes), self._regions[nodes.group[: nodes.count]]
        found, looked_at = [], 0
        for node in rows[order].tolist():
            pods = self._kubelet.demands_on(node)
            looked_at += bool(pods)
            if looked_at > scaler.candidates:
                break
            if pods and scaler.consolidation is not None and not self._pays(node, scaler.consolidation):
                continue
            room = free.copy()
            room[node] = -1
            left, room = left_over(pods, room, regions)
            if not left:
                free = room
                found.append(node)
        return found

    def _pays(self, node: int, rule: Consolidation) -> bool:
        """Whether what a node costs is above what moving its pods is worth."""
        saved = float(self._nodes.prices[self._nodes.group[node]]) * rule.payback_seconds
        return saved > rule.usd_per_moved_pod * self._kubelet.rows_on(node).size


def _pods(demands: list[Demand]) -> int:
    return sum(demand.count for demand in demands)
