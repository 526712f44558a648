"""One queue in front of the slots of all ready pods: the plainest application, at several times the speed.

Between two control-plane events the set of slots is fixed, so no events are needed: each request
starts on the slot that is free first (Kiefer and Wolfowitz, 1955), found on a binary heap. Requests
that could not start wait in a ring for the next stretch. ``simulator.dataplane`` runs the same and
everything else; a test holds the two together.
"""

from __future__ import annotations

import numpy as np

from simulator.application import Application
from simulator.compiled import inlined, kernel
from simulator.dataplane import CALL_COUNTS, CALL_SECONDS, REQUEST_COUNTS, REQUEST_SECONDS, Totals
from simulator.kernel.station import count_latency
from simulator.latency import BUCKETS
from simulator.laws.draws import draw_seconds
from simulator.plant import Floats, Ints
from simulator.randomness import SERVICE, call_key, purpose_key, request_key
from simulator.traits import PodCpu, Traits

OFFERED, STARTED, SERVED, FAILED = range(4)
WAITED, WAITING_AREA, BUSY, RESPONSE = range(4)
_IDLE = np.inf


class OneQueue:
    """An application of one queue: what DataPlane does, and nothing else.

    Args:
        application: where ``is_one_queue`` holds.
        seed: key of all draws that belong to requests.
        latency_thresholds_seconds: K thresholds at which late requests are counted exactly.
    """

    def __init__(
        self, application: Application, seed: np.uint64, latency_thresholds_seconds: tuple[float, ...] = ()
    ) -> None:
        service = application.services[0]
        law = service.all_operations[0].service_time
        self._law = law.code, np.array(law.parameters(), np.float64)
        self._seed = seed
        self._slots_per_pod = service.slots_per_pod
        self._vcpu = service.vcpu_per_pod
        self._cores_per_slot = service.vcpu_per_pod / service.slots_per_pod
        self._traits: dict[int, Traits] = {}
        self._cpu = PodCpu(self._cores_per_slot)
        self._station = Station(latency_thresholds_seconds)
        self._accepting: set[int] = set()
        self._emptied = np.full(0, np.inf)
        self._arrived = 0
        self._now = 0.0

    @property
    def waiting(self) -> Ints:
        """int64 ``(1,)``; requests waiting for a slot."""
        return np.array([self._station.waiting])

    @property
    def in_service(self) -> Ints:
        """int64 ``(1,)``; requests on a slot."""
        return np.array([self._station.in_service])

    @property
    def in_flight(self) -> Ints:
        """int64 ``(1,)``; requests that are not over."""
        return self.waiting + self.in_service

    @property
    def pod_cpu_seconds(self) -> Floats:
        """float64 by pod row; core-seconds used since the row was given to a pod."""
        return self._cpu.of_pods(self._station.pod_busy_seconds)

    @property
    def pod_requests(self) -> Ints:
        """int64 by pod row; requests on the pod's slots."""
        return self._station.pod_in_service

    @property
    def pod_emptied_seconds(self) -> Floats:
        """float64 by pod row; when a closed pod finished its last request, inf if it has not."""
        return np.where(self._emptied < self._now, self._emptied, np.inf)

    def totals(self) -> Totals:
        """A copy of all counters."""
        station = self._station
        offered, started, served, failed = (station.counts[at : at + 1].copy() for at in range(4))
        waited, area, busy, response = (station.seconds[at : at + 1].copy() for at in range(4))
        none = np.zeros(1, np.int64)
        calls = (offered, started, served, none, none, failed, none, none)
        cpu = self._cpu.of_all(busy, station.pod_busy_seconds)
        seconds = (waited, area, busy, response, busy, cpu)
        counts = station.latency_counts[np.newaxis].copy()
        return Totals(
            dict(zip((*CALL_COUNTS, *CALL_SECONDS), (*calls, *seconds), strict=True)),
            dict(
                zip(
                    (*REQUEST_COUNTS, *REQUEST_SECONDS),
                    (offered, served, none, none, failed, response, area + busy),
                    strict=True,
                )
            ),
            station.late[np.newaxis].copy(),
            counts,
            counts,
        )

    def open_pod(self, pod: int, service: int = 0, vcpu: float | None = None) -> None:
        """Let a pod take requests from now on, with ``vcpu`` or else the service's CPU, at speed 1.

        Raises:
            ValueError: if the CPU is not above 0.
        """
        del service
        traits = Traits(self._vcpu).changed(vcpu=vcpu)
        if pod >= len(self._emptied):
            more = max(16, 2 * (pod + 1)) - len(self._emptied)
            self._emptied = np.concatenate([self._emptied, np.full(more, np.inf)])
        self._emptied[pod] = np.inf
        self._accepting.add(pod)
        self._station.open_slots(pod, self._slots_per_pod)
        self._take_traits(pod, traits)

    def set_pod(
        self,
        pod: int,
        *,
        vcpu: float | None = None,
        speed: float | None = None,
        delay_seconds: float | None = None,
        error_probability: float | None = None,
    ) -> None:
        """Change a pod from now on; requests at work keep the pace that they began at.

        Args:
            vcpu: its CPU, above 0.
            speed: work done a core-second, above 0; 1 is usual.
            delay_seconds: 0, see below.
            error_probability: 0, see below.

        Raises:
            ValueError: if the row has no pod, a value is not possible, or a delay or errors are asked for,
                which DataPlane can do.
        """
        if pod not in self._traits:
            msg = f"row {pod} has no pod"
            raise ValueError(msg)
        after = self._traits[pod].changed(vcpu, speed, delay_seconds, error_probability)
        if after.delay_seconds or after.error_probability:
            msg = "delay_seconds and error_probability of a pod need DataPlane; OneQueue has vcpu and speed"
            raise ValueError(msg)
        self._take_traits(pod, after)

    def close_pod(self, pod: int) -> None:
        """Let a pod finish what it has and take no more."""
        self._accepting.discard(pod)
        self._emptied[pod] = self._station.close_slots(pod)

    def kill_pod(self, pod: int) -> None:
        """End a pod, closed or not: what it still has fails."""
        if pod in self._accepting:
            self.close_pod(pod)
        if self._traits.pop(pod, None):
            self._cpu.release(pod, self._station.pod_busy_seconds)
        self._station.release_pod(pod)

    def _take_traits(self, pod: int, traits: Traits) -> None:
        self._traits[pod] = traits
        self._cpu.set(pod, traits.vcpu / self._slots_per_pod, self._station.pod_busy_seconds)
        self._station.set_pace(pod, traits.vcpu / self._vcpu * traits.speed)

    def advance(self, until: float, arrivals: Floats, classes: Ints | None = None) -> None:
        """Run ``[now, until)`` with these arrivals: float64 ``(n,)``, ascending."""
        del classes
        demands = np.empty(len(arrivals))
        _draw_demands(*self._law, self._seed, self._arrived, demands)
        self._arrived += len(arrivals)
        self._station.advance(until, arrivals, demands)
        self._now = until


class Station:
    """Slots, a queue and exact counters.

    Args:
        latency_thresholds_seconds: K thresholds at which late requests are counted exactly.

    Attributes:
        counts: int64 ``(4,)``; requests offered, started, served, failed.
        late: int64 ``(K,)``; requests past each latency threshold.
        latency_counts: int64 ``(B,)``; served requests by latency bucket.
        seconds: float64 ``(4,)``; waited, waiting-request, busy-slot and response seconds.
    """

    def __init__(self, latency_thresholds_seconds: tuple[float, ...]) -> None:
        self._thresholds = np.array(latency_thresholds_seconds, dtype=np.float64)
        self.counts = np.zeros(4, dtype=np.int64)
        self.late = np.zeros(len(self._thresholds), dtype=np.int64)
        self.latency_counts = np.zeros(BUCKETS, dtype=np.int64)
        self.seconds = np.zeros(4)
        self._slot_pod = np.empty(0, dtype=np.int64)
        self._arrived = np.empty(0)
        self._finish = np.empty(0)
        self._heap_time = np.empty(0)
        self._heap_slot = np.empty(0, dtype=np.int64)
        self._heap_size = 0
        self._unused_slots: list[int] = []
        self._queue = np.empty((1024, 2))
        self._head = 0
        self._waiting = 0
        self._now = 0.0
        self.pod_busy_seconds = np.zeros(0)
        """float64 by pod row: busy-slot seconds since the row was given to a pod."""
        self._pod_pace = np.ones(0)
        self._all_even = True

    @property
    def pod_in_service(self) -> Ints:
        """int64 by pod row; requests on a slot."""
        busy = self._slot_pod[self._finish < _IDLE]
        return np.bincount(busy, minlength=len(self.pod_busy_seconds))

    @property
    def waiting(self) -> int:
        """Requests waiting for a slot."""
        return self._waiting

    @property
    def in_service(self) -> int:
        """Requests on a slot."""
        return int(np.count_nonzero(self._finish < _IDLE))

    def open_slots(self, pod: int, count: int) -> None:
        """Give ``count`` slots of a pod to the queue from now on."""
        if pod >= len(self.pod_busy_seconds):
            grown = np.zeros(max(16, 2 * (pod + 1)))
            grown[: len(self.pod_busy_seconds)] = self.pod_busy_seconds
            self.pod_busy_seconds = grown
            self._pod_pace = np.append(self._pod_pace, np.ones(len(grown) - len(self._pod_pace)))
        self._pod_pace[pod] = 1.0
        self._reserve(count)
        for _ in range(count):
            slot = self._unused_slots.pop()
            self._slot_pod[slot] = pod
            _push(self._heap_time, self._heap_slot, self._heap_size, self._now, slot)
            self._heap_size += 1

    def set_pace(self, pod: int, pace: float) -> None:
        """Work that a pod's slots do a second, for requests that begin from now on."""
        self._pod_pace[pod] = pace
        self._all_even &= pace == 1.0

    def close_slots(self, pod: int) -> float:
        """Take a pod's slots from the queue; the time at which its last request finishes."""
        size = self._heap_size
        keep = self._slot_pod[self._heap_slot[:size]] != pod
        times, slots = self._heap_time[:size][keep], self._heap_slot[:size][keep]
        order = np.argsort(times, kind="stable")
        self._heap_size = len(slots)
        self._heap_time[: self._heap_size] = times[order]
        self._heap_slot[: self._heap_size] = slots[order]
        busy = (self._slot_pod == pod) & (self._finish < _IDLE)
        return float(self._finish[busy].max(initial=self._now))

    def release_pod(self, pod: int) -> None:
        """Forget a closed pod; what it still has in service fails, and so counts as late."""
        for slot in np.flatnonzero(self._slot_pod == pod):
            if self._finish[slot] < _IDLE:
                self.counts[FAILED] += 1
                self.seconds[RESPONSE] += self._now - self._arrived[slot]
                self.late += self._arrived[slot] + self._thresholds >= self._now
                self._finish[slot] = _IDLE
            self._slot_pod[slot] = -1
            self._unused_slots.append(int(slot))
        if pod < len(self.pod_busy_seconds):
            self.pod_busy_seconds[pod] = 0.0

    def advance(self, until: float, arrivals: Floats, demands: Floats) -> None:
        """Run ``[now, until)`` with these arrivals and their service times."""
        self._make_room(len(arrivals))
        self._head, self._waiting = _serve(
            (self._now, until),
            (arrivals, demands),
            (self._queue, self._head, self._waiting),
            (self._heap_time, self._heap_slot, self._heap_size),
            (self._slot_pod, self._arrived, self._finish, self.pod_busy_seconds),
            (self._all_even, self._pod_pace),
            self._thresholds,
            (self.counts, self.late, self.latency_counts, self.seconds),
        )
        self._now = until

    def _reserve(self, count: int) -> None:
        if count <= len(self._unused_slots):
            return
        old = len(self._slot_pod)
        new = max(64, 2 * old, old + count)
        more = new - old
        self._slot_pod = np.concatenate([self._slot_pod, np.full(more, -1, dtype=np.int64)])
        self._arrived = np.concatenate([self._arrived, np.zeros(more)])
        self._finish = np.concatenate([self._finish, np.full(more, _IDLE)])
        self._heap_time = np.concatenate([self._heap_time, np.zeros(more)])
        self._heap_slot = np.concatenate([self._heap_slot, np.zeros(more, dtype=np.int64)])
        self._unused_slots.extend(range(new - 1, old - 1, -1))

    def _make_room(self, count: int) -> None:
        needed = self._waiting + count
        if needed <= len(self._queue):
            return
        grown = np.empty((2 * needed, 2))
        places = (self._head + np.arange(self._waiting)) % len(self._queue)
        grown[: self._waiting] = self._queue[places]
        self._queue, self._head = grown, 0


@kernel
def _push(heap_time, heap_slot, size, time, slot):
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if heap_time[parent] <= time:
            break
        heap_time[place] = heap_time[parent]
        heap_slot[place] = heap_slot[parent]
        place = parent
    heap_time[place] = time
    heap_slot[place] = slot


@inlined
def _replace_top(heap_time, heap_slot, size, time):
    slot = heap_slot[0]
    place = 0
    child = 1
    while child < size:
        if child + 1 < size and heap_time[child + 1] < heap_time[child]:
            child += 1
        if heap_time[child] >= time:
            break
        heap_time[place] = heap_time[child]
        heap_slot[place] = heap_slot[child]
        place = child
        child = 2 * place + 1
    heap_time[place] = time
    heap_slot[place] = slot


@inlined
def _count_late(arrived, finish, begin, end, thresholds, late):
    for index in range(len(thresholds)):
        crossing = arrived + thresholds[index]
        if begin <= crossing < end and finish > crossing:
            late[index] += 1


@inlined
def _crossed(ring, threshold, time):
    """How many of the waiting requests, oldest first, had an age over the threshold before a time."""
    queue, head, waiting = ring
    low, high = 0, waiting
    while low < high:
        middle = (low + high) >> 1
        if queue[(head + middle) % len(queue), 0] + threshold < time:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _serve(span, requests, waiting_ring, heap, slots, paces, thresholds, totals):
    """Run one stretch; the queue's new head and length."""
    begin, end = span
    arrivals, demands = requests
    queue, head, waiting = waiting_ring
    heap_time, heap_slot, size = heap
    slot_pod, slot_arrived, slot_finish, pod_busy = slots
    all_even, pod_pace = paces
    counts, late, latency_counts, seconds = totals
    served = 0
    busy = 0.0
    waited = 0.0
    area = 0.0
    responded = 0.0

    for slot in range(len(slot_finish)):
        finish = slot_finish[slot]
        if finish == np.inf:
            continue
        arrived = slot_arrived[slot]
        _count_late(arrived, finish, begin, end, thresholds, late)
        worked = min(finish, end) - begin
        busy += worked
        pod_busy[slot_pod[slot]] += worked
        if finish < end:
            served += 1
            responded += finish - arrived
            count_latency(latency_counts, finish - arrived)
            slot_finish[slot] = np.inf

    next_arrival = 0
    started = 0
    while size > 0:
        if waiting > 0:
            arrived = queue[head, 0]
            demand = queue[head, 1]
        elif next_arrival < len(arrivals):
            arrived = arrivals[next_arrival]
            demand = demands[next_arrival]
        else:
            break
        start = max(arrived, heap_time[0])
        if start >= end:
            break
        if waiting > 0:
            head = (head + 1) % len(queue)
            waiting -= 1
            area += start - max(arrived, begin)
        else:
            next_arrival += 1
            area += start - arrived
        slot = heap_slot[0]
        if not all_even:
            demand /= pod_pace[slot_pod[slot]]
        finish = start + demand
        _replace_top(heap_time, heap_slot, size, finish)
        started += 1
        waited += start - arrived
        _count_late(arrived, finish, begin, end, thresholds, late)
        if finish < end:
            served += 1
            responded += finish - arrived
            count_latency(latency_counts, finish - arrived)
            worked = demand
        else:
            slot_arrived[slot] = arrived
            slot_finish[slot] = finish
            worked = end - start
        busy += worked
        pod_busy[slot_pod[slot]] += worked

    area += waiting * (end - begin)
    while next_arrival < len(arrivals):
        place = (head + waiting) % len(queue)
        queue[place, 0] = arrivals[next_arrival]
        queue[place, 1] = demands[next_arrival]
        area += end - arrivals[next_arrival]
        waiting += 1
        next_arrival += 1
    for index in range(len(thresholds)):
        ring = queue, head, waiting
        late[index] += _crossed(ring, thresholds[index], end) - _crossed(ring, thresholds[index], begin)

    counts[0] += len(arrivals)
    counts[1] += started
    counts[2] += served
    seconds[0] += waited
    seconds[1] += area
    seconds[2] += busy
    seconds[3] += responded
    return head, waiting


@kernel
def _draw_demands(code, values, seed, first, demands):
    """The service times of requests from the first on: those of a client's first attempts on edge 0."""
    for place in range(len(demands)):
        call = call_key(request_key(seed, first + place), 0, 0, 0)
        demands[place] = draw_seconds(code, values, 0, purpose_key(call, SERVICE))
