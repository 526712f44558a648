"""A plain simulation of an application, an object a call: slow, and to be read from top to bottom.

It shares settings, keys and laws with the compiled kernel and nothing else. Every call leaves a record
of when it arrived, started, finished its work, gave its slot back and left; all counters and integrals
over time are read off the records. What happens at one moment happens in the order of its causes.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from simulator import randomness
from simulator.application import Application
from simulator.latency import BUCKETS, bucket_edges_seconds
from simulator.laws.draws import draw_many
from simulator.operation import Breaker, Call, RetryBudget
from simulator.plant import Floats, Ints
from simulator.randomness import BACK_OFF, CLASS, DISPATCH, ROUTING, SERVICE
from simulator.service import Service

PERIOD_SECONDS = 0.1
EDGES_SECONDS = bucket_edges_seconds()


def child_key(caller: np.uint64, edge: int, branch: int, attempt: int) -> np.uint64:
    return np.uint64(randomness.call_key(caller, edge, branch, attempt))


def number(key: np.uint64, purpose: int, index: int = 0) -> float:
    return float(randomness.uniform(np.uint64(randomness.purpose_key(key, purpose)), index))


class Circuit:
    """A breaker's state."""

    def __init__(self, settings: Breaker) -> None:
        self.settings = settings
        self.turn("closed", 0.0)

    def turn(self, mode: str, now: float) -> None:
        self.mode, self.since = mode, now
        self.failures: deque[bool] = deque(maxlen=self.settings.window_calls)
        self.trials = 0
        self.trial_failures: list[bool] = []

    def lets_through(self, now: float) -> bool:
        if self.mode == "closed":
            return True
        used_up = self.trials >= self.settings.trial_calls
        if now >= self.since + self.settings.open_seconds and (self.mode == "open" or used_up):
            self.turn("half-open", now)
        if self.mode == "open" or self.trials >= self.settings.trial_calls:
            return False
        self.trials += 1
        return True

    def hear(self, issued: float, now: float, *, failed: bool) -> None:
        if self.mode == "open" or issued < self.since:
            return
        if self.mode == "half-open":
            self.trial_failures.append(failed)
            if len(self.trial_failures) == self.settings.trial_calls:
                bad = sum(self.trial_failures) >= self.settings.failure_ratio * self.settings.trial_calls
                self.turn("open" if bad else "closed", now)
            return
        self.failures.append(failed)
        full = len(self.failures) == self.settings.window_calls
        if full and sum(self.failures) >= self.settings.failure_ratio * self.settings.window_calls:
            self.turn("open", now)


class Budget:
    """A bucket of retries."""

    def __init__(self, settings: RetryBudget) -> None:
        self.settings = settings
        self.tokens, self.counted = min(settings.per_second, settings.burst), 0.0

    def add(self, tokens: float, now: float) -> None:
        earned = self.settings.per_second * (now - self.counted)
        self.tokens = min(min(self.tokens + earned, self.settings.burst) + tokens, self.settings.burst)
        self.counted = now

    def pay(self, now: float) -> bool:
        self.add(0.0, now)
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class Edge:
    """One call of the graph, and what all its calls share."""

    def __init__(self, index: int, settings: Call, target: Work) -> None:
        self.index, self.settings, self.target = index, settings, target
        self.circuit = settings.breaker and Circuit(settings.breaker)
        self.budget = settings.retry and settings.retry.budget and Budget(settings.retry.budget)


class Work:
    """An operation of a service."""

    def __init__(self, station: Station, law: Any) -> None:
        self.station, self.code, self.values = station, law.code, np.array(law.parameters())
        self.steps: list[list[Edge]] = []

    def seconds(self, key: np.uint64) -> float:
        keys = np.array([randomness.purpose_key(key, SERVICE)], np.uint64)
        return float(draw_many(self.code, self.values, keys)[0])


class Node:
    """Who makes calls: a client's request, or a call at its service."""

    def __init__(self, key: np.uint64, group: int, priority: int, steps: list[list[Edge]]) -> None:
        self.key, self.group, self.priority, self.steps = key, group, priority, steps
        self.step, self.pending, self.outcome, self.alive = -1, 0, "ok", True


class Request(Node):
    """What a client asks for."""

    arrived = 0.0
    ended = math.inf
    retries = 0


class Visit(Node):
    """One attempt of one call, and what became of it at its service."""

    def __init__(self, caller: Node, edge: Edge, branch: int, attempt: int) -> None:
        key = child_key(caller.key, edge.index, branch, attempt)
        super().__init__(key, caller.group, caller.priority, edge.target.steps)
        self.caller: Node | None = caller
        self.edge, self.branch, self.attempt = edge, branch, attempt
        self.issued = math.nan
        self.pod: Pod | None = None
        self.fate = "travelling"
        self.arrived = self.started = self.worked = self.released = self.left = math.inf
        self.work_left = math.nan

    @property
    def awaited(self) -> bool:
        return self.caller is not None and self.caller.alive


class Queue:
    """First come, first served within a priority."""

    def __init__(self) -> None:
        self.visits: list[Visit] = []

    def pop(self) -> Visit | None:
        if not self.visits:
            return None
        first = max(self.visits, key=lambda visit: visit.priority)
        self.visits.remove(first)
        return first


class Pod:
    """A pod and its threads."""

    def __init__(self, station: Station, now: float) -> None:
        self.station, self.accepting = station, True
        self.slots, self.busy, self.emptied = station.settings.slots_per_pod, 0, math.inf
        self.queue = Queue()
        self.calls: list[Visit] = []
        self.threads: list[Visit] = []
        self.touched, self.cpu, self.version = now, 0.0, 0
        self.period, self.quota_left = math.floor(now / PERIOD_SECONDS), math.inf

    @property
    def load(self) -> int:
        return self.busy + len(self.queue.visits)

    def pieces(self, begin: float, until: float) -> Iterator[tuple[float, float]]:
        """Stretches in which all threads run at one speed: when each ends, and the speed."""
        cores, threads = self.station.settings.vcpu_per_pod, len(self.threads)
        if not self.station.settings.cfs_throttling:
            yield until, min(1.0, cores / threads) if threads else 0.0
            return
        period, left = self.period, min(self.quota_left, cores * PERIOD_SECONDS)
        while begin < until:
            end = (period + 1) * PERIOD_SECONDS
            runs = min(end, until, begin + left / threads) if threads else begin
            yield runs, 1.0
            yield min(end, until), 0.0
            begin, period, left = end, period + 1, cores * PERIOD_SECONDS

    def run(self, now: float) -> None:
        """Let the threads run up to now."""
        begin = self.touched
        quota = self.station.settings.vcpu_per_pod * PERIOD_SECONDS
        if not self.threads and math.floor(now / PERIOD_SECONDS) > self.period:
            self.period, self.quota_left, begin = math.floor(now / PERIOD_SECONDS), quota, now
        for end, speed in self.pieces(begin, now):
            for visit in self.threads:
                visit.work_left -= speed * (end - begin)
            used = speed * (end - begin) * len(self.threads)
            self.cpu += used
            self.quota_left = min(self.quota_left, quota) - used
            begin = end
            if end >= (self.period + 1) * PERIOD_SECONDS:
                self.period, self.quota_left = self.period + 1, quota
        self.touched = now

    def next_done(self) -> tuple[float, Visit]:
        """When the first thread is done if none comes or goes."""
        first = min(self.threads, key=lambda visit: visit.work_left)
        begin, left = self.touched, first.work_left
        for end, speed in self.pieces(begin, math.inf):
            if speed > 0 and left <= speed * (end - begin):
                return begin + max(left, 0.0) / speed, first
            left -= speed * (end - begin)
            begin = end
        raise AssertionError


class Station:
    """A service."""

    def __init__(self, settings: Service) -> None:
        self.settings = settings
        self.queue = Queue()
        self.idle: deque[Pod] = deque()  # an entry an idle slot
        self.ready: list[Pod] = []
        self.all_pods: list[Pod] = []
        self.turn = 0
        self.refused = 0


class Reference:
    """The same as ``simulator.dataplane.DataPlane`` for whoever drives it."""

    def __init__(self, application: Application, seed: np.uint64, thresholds: Sequence[float] = ()) -> None:
        self.application, self.seed, self.thresholds = application, seed, thresholds
        self.now = 0.0
        self.due: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.later: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.numbers = itertools.count()
        self.stations = [Station(settings) for settings in application.services]
        self.requests: list[Request] = []
        self.visits: list[Visit] = []
        self.pods: dict[int, Pod] = {}
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
            return Edge(next(numbers), call, works[self.application.find(call)])

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
        if edge.circuit and not edge.circuit.lets_through(self.now):
            edge.target.station.refused += 1
            self.after(0.0, self.hear, visit, "refused")
            return
        self.issued += 1
        if edge.budget and visit.attempt == 0:
            edge.budget.add(edge.budget.settings.ratio, self.now)
        if settings.timeout_seconds is not None:
            self.after(settings.timeout_seconds, self.hear, visit, "timed_out")
        self.visits.append(visit)
        self.after(settings.network_seconds, self.arrive, visit)

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
        station, settings = visit.edge.target.station, visit.edge.target.station.settings
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
        work = visit.edge.target.seconds(visit.key)
        if pod.station.settings.discipline == "slots":
            self.after(work, self.finish, visit)
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
        if not visit.awaited:
            visit.fate = "timed_out"
        else:
            visit.fate = "served" if visit.outcome == "ok" else "failed"
        visit.left, visit.alive = self.now, False
        if visit.released == math.inf:
            self._release(visit)
        pod.calls.remove(visit)
        self._note_emptied(pod)
        self._answer(visit, visit.outcome)

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

    def _answer(self, visit: Visit, outcome: str) -> None:
        self.after(visit.edge.settings.network_seconds, self.hear, visit, outcome)

    # --- pods ---------------------------------------------------------------------------------

    def open_pod(self, row: int, service: int) -> None:
        station = self.stations[service]
        pod = self.pods[row] = Pod(station, self.now)
        station.ready.append(pod)
        station.all_pods.append(pod)
        if station.settings.dispatch == "shared":
            for _ in range(pod.slots):
                self._use_slot(pod)
        self._do_what_is_due()

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

    # --- what is counted ----------------------------------------------------------------------

    def counts(self) -> dict[str, Any]:
        """Counts by service and by class, late requests, latency buckets."""
        found: dict[str, Any] = {"refused": [station.refused for station in self.stations]}
        for name in ("served", "dropped", "timed_out", "failed", "waiting", "in_service"):
            found[name] = [sum(each.fate == name for each in self._of(s)) for s in self.stations]
        found["offered"] = [len(self._of(station)) for station in self.stations]
        found["started"] = [sum(each.started < math.inf for each in self._of(s)) for s in self.stations]
        found["retried"] = [sum(each.attempt > 0 for each in self._of(s)) for s in self.stations]
        groups = [[r for r in self.requests if r.group == g] for g in range(len(self.application.classes))]
        found["class_offered"] = [len(group) for group in groups]
        found["in_flight"] = [sum(each.ended == math.inf for each in group) for group in groups]
        ended = [[each for each in group if each.ended < math.inf] for group in groups]
        for name, outcomes in (
            ("class_served", ("ok",)),
            ("class_dropped", ("dropped",)),
            ("class_timed_out", ("timed_out",)),
            ("class_failed", ("failed", "refused")),
        ):
            found[name] = [sum(each.outcome in outcomes for each in group) for group in ended]
        found["late"] = [
            [sum(self._is_late(each, threshold) for each in group) for threshold in self.thresholds]
            for group in groups
        ]
        found["service_latency"] = [
            _buckets([each.left - each.arrived for each in self._of(s) if each.fate == "served"])
            for s in self.stations
        ]
        found["class_latency"] = [
            _buckets([each.ended - each.arrived for each in group if each.outcome == "ok"]) for group in ended
        ]
        return {name: np.array(value, np.int64) for name, value in found.items()}

    def log(self) -> list[tuple[float, float, int, int, str]]:
        """What became of the requests that are over: arrival, latency, class, retries, outcome."""
        return sorted(
            (
                each.arrived,
                each.ended - each.arrived,
                each.group,
                each.retries,
                "failed" if each.outcome == "refused" else each.outcome,
            )
            for each in self.requests
            if each.ended < math.inf
        )

    def pod_cpu_seconds(self, row: int) -> float:
        """Core-seconds that a pod has used."""
        pod = self.pods[row]
        if pod.station.settings.discipline == "processor_sharing":
            pod.run(self.now)
            return pod.cpu
        return sum(self._slot_cpu(each) for each in self._of(pod.station) if each.pod is pod)

    def _slot_cpu(self, visit: Visit) -> float:
        if visit.started == math.inf:
            return 0.0
        settings = visit.edge.target.station.settings
        return settings.vcpu_per_pod / settings.slots_per_pod * (min(visit.worked, self.now) - visit.started)

    def _of(self, station: Station) -> list[Visit]:
        return [
            each for each in self.visits if each.edge.target.station is station and each.arrived < math.inf
        ]

    def _is_late(self, request: Request, threshold: float) -> bool:
        crossing = request.arrived + threshold
        if request.ended == math.inf:
            return crossing < self.now
        return request.outcome != "ok" or crossing < request.ended

    def seconds(self) -> dict[str, Floats]:
        """Sums and integrals over time by service and by class."""
        now, found = self.now, {}
        for name in ("waited", "waiting_request", "in_service_request", "response", "busy_slot", "cpu"):
            found[name] = [0.0 for _ in self.stations]
        for place, station in enumerate(self.stations):
            for each in self._of(station):
                queued_until = min(each.started, each.left, now)
                if each.fate == "dropped":
                    continue
                found["waiting_request"][place] += queued_until - each.arrived
                if each.left < math.inf:
                    found["response"][place] += each.left - each.arrived
                if each.started < math.inf:
                    found["waited"][place] += each.started - each.arrived
                    found["in_service_request"][place] += min(each.left, now) - each.started
                    found["busy_slot"][place] += min(each.released, now) - each.started
            found["cpu"][place] = sum(self._slot_cpu(each) for each in self._of(station))
            if station.settings.discipline == "processor_sharing":
                for pod in station.all_pods:
                    pod.run(now)
                found["cpu"][place] = sum(pod.cpu for pod in station.all_pods)
        groups = range(len(self.application.classes))
        found["class_response"], found["class_in_flight"] = [0.0 for _ in groups], [0.0 for _ in groups]
        for request in self.requests:
            found["class_in_flight"][request.group] += min(request.ended, now) - request.arrived
            if request.ended < math.inf:
                found["class_response"][request.group] += request.ended - request.arrived
        return {name: np.array(value) for name, value in found.items()}


def _buckets(latencies: list[float]) -> Ints:
    places = np.searchsorted(EDGES_SECONDS, np.array(latencies), side="right") - 1
    return np.bincount(np.clip(places, 0, BUCKETS - 1), minlength=BUCKETS)
