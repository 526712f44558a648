"""The data plane: every request of an application, run by the compiled kernel between two events.

The control plane opens, closes and kills pods; between two such changes ``advance`` runs all
requests of all services. What happens to a request stands in ``simulator.kernel``: ``loop`` says
what is next, ``station`` what a service does with a call, ``callers`` what callers do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.application import Application
from simulator.arrays import Floats, Ints
from simulator.kernel.assembly import assemble, with_pods, with_room, with_slots
from simulator.kernel.loop import NEEDS_ROOM, run
from simulator.kernel.pods import close_pod, kill_pod, open_pod, set_pod
from simulator.kernel.tables import IN_FLIGHT, LOGGED, NONE, Log, Table
from simulator.traits import Traits


@dataclass(frozen=True, slots=True)
class Totals:
    """What happened since the beginning; two of them differ by what happened between.

    Attributes:
        calls: int64 ``(8, S)``; CALL_COUNTS by service, as ``simulator.kernel.tables.SERVICE`` says.
        call_seconds: float64 ``(6, S)``; CALL_SECONDS by service.
        requests: int64 ``(5, C)``; REQUEST_COUNTS by class of clients' requests, as ``CLASS`` says there.
        request_seconds: float64 ``(2, C)``; REQUEST_SECONDS by class.
        late: int64 ``(C, K)``; clients' requests past each latency threshold.
        service_latency_counts: int64 ``(S, B)``; calls served, by latency bucket.
        class_latency_counts: int64 ``(C, B)``; clients' requests served, by latency bucket.
    """

    calls: Ints
    call_seconds: Floats
    requests: Ints
    request_seconds: Floats
    late: Ints
    service_latency_counts: Ints
    class_latency_counts: Ints

    def since(self, before: Totals) -> Totals:
        """What happened after ``before``."""
        return Totals(
            self.calls - before.calls,
            self.call_seconds - before.call_seconds,
            self.requests - before.requests,
            self.request_seconds - before.request_seconds,
            self.late - before.late,
            self.service_latency_counts - before.service_latency_counts,
            self.class_latency_counts - before.class_latency_counts,
        )

    @property
    def services(self) -> dict[str, Table]:
        """Counts and seconds by service, ``(S,)`` each."""
        return dict(zip((*CALL_COUNTS, *CALL_SECONDS), (*self.calls, *self.call_seconds), strict=True))

    @property
    def classes(self) -> dict[str, Table]:
        """Counts and seconds by class, ``(C,)`` each."""
        names = *REQUEST_COUNTS, *REQUEST_SECONDS
        return dict(zip(names, (*self.requests, *self.request_seconds), strict=True))


CALL_COUNTS = ("offered", "started", "served", "dropped", "timed_out", "failed", "retried", "refused")
CALL_SECONDS = (
    "waited_seconds",
    "waiting_request_seconds",
    "in_service_request_seconds",
    "response_seconds",
    "busy_slot_seconds",
    "cpu_seconds",
)
REQUEST_COUNTS = ("offered", "served", "dropped", "timed_out", "failed")
REQUEST_SECONDS = ("response_seconds", "in_flight_request_seconds")


class DataPlane:
    """All requests of an application, from clients' arrivals to their ends.

    Args:
        application: the services and the calls between them.
        seed: key of all draws that belong to requests.
        latency_thresholds_seconds: K thresholds at which late requests are counted exactly.
        log: is given every request, as ``simulator.kernel.tables.LOGGED``.
    """

    def __init__(
        self,
        application: Application,
        seed: np.uint64,
        latency_thresholds_seconds: Sequence[float] = (),
        log: Log | None = None,
    ) -> None:
        self._slots = [service.slots_per_pod for service in application.services]
        self._vcpu = [service.vcpu_per_pod for service in application.services]
        self._tables = assemble(application, seed, latency_thresholds_seconds, logs=log is not None)
        self._log = log

    @property
    def offered(self) -> Ints:
        """int64 ``(S,)``; calls since the beginning."""
        return self._tables.services["offered"].copy()

    @property
    def latency_counts(self) -> Ints:
        """int64 ``(S, B)``; calls served since the beginning, by latency bucket."""
        return self._tables.service_latency.copy()

    @property
    def waiting(self) -> Ints:
        """int64 ``(S,)``; calls waiting for a slot."""
        return self._tables.services["waiting"].copy()

    @property
    def in_service(self) -> Ints:
        """int64 ``(S,)``; calls that a service has begun and not answered."""
        return self._tables.services["in_service"].copy()

    @property
    def in_flight(self) -> Ints:
        """int64 ``(C,)``; clients' requests that are not over."""
        return self._tables.classes["in_flight"].copy()

    @property
    def pod_cpu_seconds(self) -> Floats:
        """float64 by pod row; core-seconds used since the row was given to a pod."""
        return self._tables.pods["cpu_seconds"].copy()

    @property
    def pod_emptied_seconds(self) -> Floats:
        """float64 by pod row; when a closed pod finished its last call, inf if it has not."""
        return self._tables.pods["emptied"].copy()

    @property
    def pod_requests(self) -> Ints:
        """int64 by pod row; calls at the pod: in its own queue, and begun but not answered."""
        pods = self._tables.pods
        requests: Ints = pods["waiting"].astype(np.int64) + pods["in_service"]
        return requests

    def totals(self) -> Totals:
        """A copy of all counters."""
        tables = self._tables
        services, classes = tables.services, tables.classes
        return Totals(
            np.array([services[name] for name in CALL_COUNTS]),
            np.array([services[name] for name in CALL_SECONDS]),
            np.array([classes[name] for name in REQUEST_COUNTS]),
            np.array([classes[name] for name in REQUEST_SECONDS]),
            tables.late.copy(),
            tables.service_latency.copy(),
            tables.class_latency.copy(),
        )

    def open_pod(self, pod: int, service: int, vcpu: float | None = None) -> None:
        """Let a pod take requests from now on, at speed 1, without delay and errors.

        Args:
            pod: its row, in use by no other pod.
            service: the service's place in the application.
            vcpu: its CPU; the service's ``vcpu_per_pod`` if not given.

        Raises:
            ValueError: if it is not above 0.
        """
        traits = Traits(self._vcpu[service]).changed(vcpu=vcpu)
        if pod >= len(self._tables.pods):
            self._tables = with_pods(self._tables, max(16, pod + 1))
        slots = self._slots[service]
        self._tables = with_slots(self._tables, slots)
        self._make_room(slots)
        open_pod(self._tables, pod, service, traits.vcpu)
        self._settle()

    def set_pod(
        self,
        pod: int,
        *,
        vcpu: float | None = None,
        speed: float | None = None,
        delay_seconds: float | None = None,
        error_probability: float | None = None,
    ) -> None:
        """Change a pod from now on; what is not given stays.

        Under ``slots`` calls at work keep the pace that they began at; threads that share the CPU go on at the new one.

        Args:
            vcpu: its CPU, above 0.
            speed: work done a core-second, above 0; 1 is usual.
            delay_seconds: what each answer of a call that it has finished takes on top of the network.
            error_probability: how often a call that has finished fails all the same.

        Raises:
            ValueError: if the row has no pod or a value is not possible.
        """
        self._check_open(pod)
        held = self._tables.pods[pod]
        before = Traits(
            *(float(held[name]) for name in ("cores", "speed", "delay_seconds", "error_probability"))
        )
        after = before.changed(vcpu, speed, delay_seconds, error_probability)
        self._make_room(1)
        set_pod(self._tables, pod, after.vcpu, after.speed, after.delay_seconds, after.error_probability)

    def close_pod(self, pod: int) -> None:
        """Let a pod finish what it has and take no more."""
        close_pod(self._tables, pod)

    def kill_pod(self, pod: int) -> None:
        """End a pod, closed or not: what it still has fails."""
        held = self._tables.pods[pod]
        if held["accepting"]:
            self.close_pod(pod)
        if held["busy"] + held["in_service"] + held["waiting"] == 0:
            held["service"] = NONE
            return
        self._make_room(int(held["in_service"] + held["waiting"]))
        kill_pod(self._tables, pod)
        self._settle()

    def divert(self, service: int, on: bool) -> None:  # noqa: FBT001 - there is nothing else to say
        """Send calls that have a fallback there, or to the service again: those issued from now on, retries among them.

        A fallback's own service may be diverted as well; that sends nothing further.

        Args:
            service: the service's place in the application.
            on: whether its calls go to their fallbacks.
        """
        self._tables.services["diverted"][service] = on

    def advance(self, until: float, arrivals: Floats, classes: Ints | None = None) -> None:
        """Run ``[now, until)``.

        Args:
            until: seconds.
            arrivals: float64 ``(n,)``, ascending, within the stretch.
            classes: int64 ``(n,)``, the class of each; drawn by the classes' shares if not given.
        """
        given = np.empty(0, np.int64) if classes is None else classes
        while run(self._tables, until, arrivals, given) == NEEDS_ROOM:
            self.flush_log()
            self._make_room(int(self._tables.clock["room"][0]))

    def flush_log(self) -> None:
        """Give the log the finished requests that it has not got yet."""
        count = int(self._tables.clock["logged"][0])
        if self._log and count:
            self._log(self._tables.log[:count].copy())
            self._tables.clock["logged"] = 0

    def end_log(self) -> None:
        """Give the log what it has not got yet: finished requests, then those that are not over."""
        self.flush_log()
        tables, rows = self._tables, []
        row = int(tables.clock["live_head"][0])
        while row != NONE:
            rows.append(row)
            row = int(tables.calls["next"][row])
        if self._log and rows:
            entries = np.zeros(len(rows), LOGGED)
            entries["arrived_seconds"] = tables.calls["arrived"][rows]
            entries["latency_seconds"] = np.nan
            entries["request_class"] = tables.calls["request_class"][rows]
            entries["retries"] = tables.calls["retries"][rows]
            entries["outcome"] = IN_FLIGHT
            self._log(entries)

    def _check_open(self, pod: int) -> None:
        pods = self._tables.pods
        if not 0 <= pod < len(pods) or pods[pod]["service"] == NONE:
            msg = f"row {pod} has no pod"
            raise ValueError(msg)

    def _settle(self) -> None:
        """Do what is due at this very moment, so that between two stretches each call is in one place."""
        if self._tables.clock["agenda_tail"][0]:
            self.advance(float(self._tables.clock["now"][0]), np.empty(0))

    def _make_room(self, rows: int) -> None:
        self._tables = with_room(self._tables, rows)
