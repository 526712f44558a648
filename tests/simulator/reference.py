"""A plain simulation of an application, an object a call: slow, and to be read from top to bottom.

It shares settings, keys and laws with the compiled kernel and nothing else. What happens at one
moment happens in the order of its causes.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from reference_parts import Edge, Node, Pod, Queue, Request, Station, Visit, Work, child_key, number
from reference_records import Records

from simulator import randomness
from simulator.application import Application
from simulator.arrays import Floats, Ints
from simulator.operation import Call
from simulator.randomness import BACK_OFF, CLASS, DISPATCH, ROUTING
from simulator.service import Service


class Reference(Records):
    """The same as ``simulator.dataplane.DataPlane`` for whoever drives it."""

    def __init__(self, application: Application, seed: np.uint64, thresholds: Sequence[float] = ()) -> None:
        super().__init__(application, thresholds)
        self.seed = seed
        self.due: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.later: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.numbers = itertools.count()
        self.issued = 0
        self._build()

    def _build(self) -> None:
        works = {
            (place, at): Work(station, operation.service_time)
            for place, station in enumerate(self.stations)
            for at, operation in enumerate(station.settings.all_operations)
        }
        numbers = itertools.count()

        def edge(call: Call) -> Edge:
            fallback = call.fallback and works[self.application.find(call.fallback)]
            return Edge(next(numbers), call, works[self.application.find(call)], fallback)

        for place, work in works.items():
            work.steps = [[edge(call) for call in step] for step in self.application.operation(place).steps]
        self.entries = [edge(group.entry) for group in self.application.classes]

    # --- time ---------------------------------------------------------------------------------

    def after(self, delay: float, action: Callable[..., None], *arguments: Any) -> None:
        if delay == 0.0:
            self.due.append((action, arguments))
        else:
            heapq.heappush(self.later, (self.now + delay, next(self.numbers), action, arguments))

    def advance(self, until: float, arrivals: Floats, classes: Ints | None = None) -> None:
        taken = 0
        while True:
            self._do_what_is_due()
            arrival = arrivals[taken] if taken < len(arrivals) else math.inf
            event = self.later[0][0] if self.later else math.inf
            if min(arrival, event) >= until:
                break
            self.now = min(arrival, event)
            if arrival <= event:
                self.begin(None if classes is None else int(classes[taken]))
                taken += 1
            else:
                _, _, action, arguments = heapq.heappop(self.later)
                action(*arguments)
        self.now = until

    def _do_what_is_due(self) -> None:
        while self.due:
            action, arguments = self.due.popleft()
            action(*arguments)

    # --- callers ------------------------------------------------------------------------------

    def begin(self, given: int | None) -> None:
        key = np.uint64(randomness.request_key(self.seed, len(self.requests)))
        group = self._draw_class(key) if given is None else given
        settings = self.application.classes[group]
        request = Request(key, group, settings.priority, [[self.entries[group]]])
        request.arrived = self.now
        self.requests.append(request)
        self.proceed(request)

    def _draw_class(self, key: np.uint64) -> int:
        shares = [group.share for group in self.application.classes]
        drawn = number(key, CLASS)
        parts = list(itertools.accumulate(share / sum(shares) for share in shares))
        return next((index for index, part in enumerate(parts) if drawn < part), len(parts) - 1)

    def proceed(self, node: Node) -> None:
        while node.outcome == "ok" and node.step + 1 < len(node.steps):
            node.step += 1
            for edge in node.steps[node.step]:
                for branch in range(edge.settings.count):
                    key = child_key(node.key, edge.index, branch, 0)
                    if number(key, ROUTING) < edge.settings.probability:
                        node.pending += 1
                        self.after(0.0, self.issue, Visit(node, edge, branch, 0))
            if node.pending:
                return
        if isinstance(node, Visit):
            self.leave(node)
        else:
            assert isinstance(node, Request)
            node.ended, node.alive = self.now, False

    def issue(self, visit: Visit) -> None:
        if not visit.awaited:
            return
        edge, settings = visit.edge, visit.edge.settings
        visit.issued = self.now
        if edge.fallback and edge.target.station.diverted:
            assert settings.fallback
            visit.send(edge.fallback, settings.fallback.network_seconds)
        if edge.circuit and not edge.circuit.lets_through(self.now):
            visit.target.station.refused += 1
            self.after(0.0, self.hear, visit, "refused")
            return
        self.issued += 1
        if edge.budget and visit.attempt == 0:
            edge.budget.add(edge.budget.settings.ratio, self.now)
        if settings.timeout_seconds is not None:
            self.after(settings.timeout_seconds, self.hear, visit, "timed_out")
        self.visits.append(visit)
        self.after(visit.network_seconds, self.arrive, visit)

    def hear(self, visit: Visit, outcome: str) -> None:
        """An answer, or in its place the deadline: what comes first counts."""
        if not visit.awaited:
            return
        caller, edge, settings = visit.caller, visit.edge, visit.edge.settings
        assert caller is not None
        visit.caller = None
        failed = outcome != "ok"
        if outcome != "refused":
            if edge.circuit:
                edge.circuit.hear(visit.issued, self.now, failed=failed)
            if failed and self._may_retry(visit):
                if isinstance(caller, Request):
                    caller.retries += 1
                again = Visit(caller, edge, visit.branch, visit.attempt + 1)
                self.after(self._back_off_seconds(again), self.issue, again)
                return
        if failed and not settings.optional:
            caller.outcome = outcome
        caller.pending -= 1
        if caller.pending == 0:
            self.after(0.0, self.proceed, caller)

    def _may_retry(self, visit: Visit) -> bool:
        retry = visit.edge.settings.retry
        if retry is None or visit.attempt + 1 == retry.max_attempts:
            return False
        return visit.edge.budget is None or visit.edge.budget.pay(self.now)

    @staticmethod
    def _back_off_seconds(visit: Visit) -> float:
        retry = visit.edge.settings.retry
        assert retry is not None
        wait = min(retry.back_off_seconds * 2.0 ** (visit.attempt - 1), retry.back_off_cap_seconds)
        return float(wait * (1 - retry.jitter * number(visit.key, BACK_OFF)))

    # --- services -----------------------------------------------------------------------------

    def arrive(self, visit: Visit) -> None:
        station, settings = visit.target.station, visit.target.station.settings
        visit.arrived = self.now
        if settings.dispatch == "shared":
            pod, queue, places = None, station.queue, len(station.ready)
            if station.idle:
                self.start(visit, station.idle.popleft())
                return
        else:
            pod = self._choose(station, visit.key)
            if pod is None:
                self._drop(visit)
                return
            queue, places = pod.queue, 1
            if pod.busy < pod.slots:
                self.start(visit, pod)
                return
        limit = settings.queue_limit_per_pod
        if (limit is not None and len(queue.visits) >= limit * places) or self._sheds(settings, queue, visit):
            self._drop(visit)
            return
        visit.fate, visit.pod = "waiting", pod
        queue.visits.append(visit)

    def _sheds(self, settings: Service, queue: Queue, visit: Visit) -> bool:
        shedding = settings.shedding
        if shedding is None:
            return False
        if shedding.spares_priority is not None and visit.priority >= shedding.spares_priority:
            return False
        return any(self.now - each.arrived > shedding.after_waiting_seconds for each in queue.visits)

    def _choose(self, station: Station, key: np.uint64) -> Pod | None:
        rule, ready, count = station.settings.dispatch, station.ready, len(station.ready)
        if count == 0:
            return None
        if rule == "round_robin":
            station.turn = (station.turn + 1) % count
            return ready[station.turn]
        if rule == "random":
            return ready[int(number(key, DISPATCH) * count)]
        if rule == "least_requests":
            places = [(station.turn + step) % count for step in range(count)]
            best = min(places, key=lambda place: ready[place].load)
            station.turn = best + 1
            return ready[best]
        one = ready[int(number(key, DISPATCH) * count)]
        others = [pod for pod in ready if pod is not one]
        if not others:
            return one
        other = others[int(number(key, DISPATCH, 1) * len(others))]
        return other if other.load < one.load else one

    def _drop(self, visit: Visit) -> None:
        visit.fate = "dropped"
        self._answer(visit, "dropped")

    def start(self, visit: Visit, pod: Pod) -> None:
        visit.fate, visit.started, visit.pod = "in_service", self.now, pod
        pod.busy += 1
        pod.calls.append(visit)
        work = visit.target.seconds(visit.key)
        if pod.station.settings.discipline == "slots":
            self.after(work / pod.pace, self.finish, visit)
            return
        pod.run(self.now)
        visit.work_left = work
        pod.threads.append(visit)
        self._plan(pod)

    def _plan(self, pod: Pod) -> None:
        pod.version += 1
        if pod.threads:
            time, visit = pod.next_done()
            heapq.heappush(
                self.later, (time, next(self.numbers), self._finish_thread, (pod, visit, pod.version))
            )

    def _finish_thread(self, pod: Pod, visit: Visit, version: int) -> None:
        if version != pod.version:
            return
        pod.run(self.now)
        pod.threads.remove(visit)
        self._plan(pod)
        self.finish(visit)

    def finish(self, visit: Visit) -> None:
        if not visit.alive:
            return
        visit.worked = self.now
        assert visit.pod is not None
        if not visit.pod.station.settings.holds_slot_while_calling:
            self._release(visit)
        self.proceed(visit)

    def leave(self, visit: Visit) -> None:
        pod = visit.pod
        assert pod is not None
        if visit.outcome == "ok" and pod.errs(visit):
            visit.outcome = "failed"
        if not visit.awaited:
            visit.fate = "timed_out"
        else:
            visit.fate = "served" if visit.outcome == "ok" else "failed"
        visit.left, visit.alive = self.now, False
        if visit.released == math.inf:
            self._release(visit)
        pod.calls.remove(visit)
        self._note_emptied(pod)
        self._answer(visit, "ok" if visit.outcome == "ok" else "failed", pod.delay_seconds)

    def _release(self, visit: Visit) -> None:
        pod = visit.pod
        assert pod is not None
        visit.released = self.now
        pod.busy -= 1
        self._use_slot(pod)

    def _use_slot(self, pod: Pod) -> None:
        """A slot of a pod is free."""
        station = pod.station
        is_shared = station.settings.dispatch == "shared"
        if is_shared and not pod.accepting:
            return
        queue = station.queue if is_shared else pod.queue
        while visit := queue.pop():
            if visit.awaited or not station.settings.discards_expired:
                self.start(visit, pod)
                return
            visit.fate, visit.left = "timed_out", self.now
        if is_shared:
            station.idle.append(pod)

    def _answer(self, visit: Visit, outcome: str, delay: float = 0.0) -> None:
        self.after(visit.network_seconds + delay, self.hear, visit, outcome)

    def divert(self, service: int, on: bool) -> None:
        self.stations[service].diverted = on

    # --- pods ---------------------------------------------------------------------------------

    def open_pod(self, row: int, service: int, vcpu: float | None = None) -> None:
        station = self.stations[service]
        pod = self.pods[row] = Pod(station, self.now, vcpu)
        station.ready.append(pod)
        station.all_pods.append(pod)
        if station.settings.dispatch == "shared":
            for _ in range(pod.slots):
                self._use_slot(pod)
        self._do_what_is_due()

    def set_pod(self, row: int, **traits: float) -> None:
        pod = self.pods[row]
        pod.change(self.now, traits)
        self._plan(pod)

    def close_pod(self, row: int) -> None:
        pod = self.pods[row]
        pod.accepting = False
        pod.station.ready.remove(pod)
        pod.station.idle = deque(each for each in pod.station.idle if each is not pod)
        self._note_emptied(pod)

    def _note_emptied(self, pod: Pod) -> None:
        if not pod.accepting and not pod.calls and not pod.queue.visits:
            pod.emptied = self.now

    def kill_pod(self, row: int) -> None:
        if self.pods[row].accepting:
            self.close_pod(row)
        pod = self.pods.pop(row)
        pod.run(self.now)
        held = pod.calls + pod.queue.visits
        for visit in held:
            visit.fate = "failed" if visit.awaited else "timed_out"
        for visit in held:
            visit.left, visit.alive = self.now, False
            visit.worked, visit.released = min(visit.worked, self.now), min(visit.released, self.now)
            self._answer(visit, "failed")
        pod.threads, pod.calls, pod.queue, pod.busy = [], [], Queue(), 0
        self._plan(pod)
        self._do_what_is_due()
