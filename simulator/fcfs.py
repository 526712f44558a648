"""One queue in front of the slots of all ready pods: the plainest application, at several times the speed.

Between two control-plane events the set of slots is fixed, so no events are needed: each request
starts on the slot that is free first (Kiefer and Wolfowitz, 1955), found on a binary heap. Requests
that could not start wait in a ring for the next stretch. ``simulator.dataplane`` runs the same and
everything else; a test holds the two together.
"""

from __future__ import annotations

import numpy as np

from simulator.application import Application
from simulator.arrays import Floats, Ints
from simulator.compiled import kernel
from simulator.dataplane import Totals
from simulator.laws.draws import draw_many
from simulator.randomness import SERVICE, call_key, purpose_key, request_key
from simulator.slots import OFFERED, Station
from simulator.traits import PodCpu, Traits


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
        self._law = law_table(application)
        self._seed = seed
        self._slots_per_pod = service.slots_per_pod
        self._usual = Traits(service.vcpu_per_pod)
        self._cores_per_slot = service.vcpu_per_pod / service.slots_per_pod
        self._traits: dict[int, Traits] = {}
        self._cpu = PodCpu(self._cores_per_slot)
        self._station = Station(latency_thresholds_seconds)
        self._accepting: set[int] = set()
        self._emptied = np.full(0, np.inf)
        self._arrived = 0
        self._now = 0.0

    @property
    def offered(self) -> Ints:
        """int64 ``(1,)``; requests since the beginning."""
        return self._station.counts[OFFERED : OFFERED + 1].copy()

    @property
    def latency_counts(self) -> Ints:
        """int64 ``(1, B)``; requests served since the beginning, by latency bucket."""
        return self._station.latency_counts[np.newaxis].copy()

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
        offered, started, served, failed = station.counts
        waited, area, busy, response = station.seconds
        cpu = self._cpu.of_all(busy, station.pod_busy_seconds)
        counts = self.latency_counts
        return Totals(
            np.array([[offered], [started], [served], [0], [0], [failed], [0], [0]]),
            np.array([[waited], [area], [busy], [response], [busy], [cpu]]),
            np.array([[offered], [served], [0], [0], [failed]]),
            np.array([[response], [area + busy]]),
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
        traits = self._usual if vcpu is None else self._usual.changed(vcpu)
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
        self._station.set_pace(pod, traits.vcpu / self._usual.vcpu * traits.speed)

    def advance(self, until: float, arrivals: Floats, classes: Ints | None = None) -> None:
        """Run ``[now, until)`` with these arrivals: float64 ``(n,)``, ascending."""
        del classes
        demands = draw_service_seconds(self._law, self._seed, self._arrived, len(arrivals))
        self._arrived += len(arrivals)
        self._station.advance(until, arrivals, demands)
        self._now = until


def law_table(application: Application) -> tuple[int, Floats]:
    """The service-time law's code and parameters of an application of one queue."""
    law = application.services[0].all_operations[0].service_time
    return law.code, np.array(law.parameters(), np.float64)


def draw_service_seconds(law: tuple[int, Floats], seed: np.uint64, first: int, count: int) -> Floats:
    """Service times of requests from the first on, seconds: float64 ``(count,)``; no policy changes them.

    Args:
        law: as ``law_table`` gives it.
        seed: key of all draws that belong to requests.
    """
    keys = np.empty(count, np.uint64)
    _service_keys(seed, first, keys)
    return draw_many(*law, keys)


@kernel
def _service_keys(seed, first, keys):
    """Keys of the service times of requests from the first on: those of a client's first attempts on edge 0."""
    for place in range(len(keys)):
        call = call_key(request_key(seed, first + place), 0, 0, 0)
        keys[place] = purpose_key(call, SERVICE)
