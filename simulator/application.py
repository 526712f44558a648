"""Applications: services, the calls between them, and the classes of requests that clients make."""

from __future__ import annotations

from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from importlib import resources

from pydantic import Field, model_validator

from simulator.errors import InputError
from simulator.operation import Call, Callee, Operation
from simulator.service import Service
from simulator.settings import Settings, parse_settings

PRIORITIES = 8
Place = tuple[int, int]


class RequestClass(Settings):
    """One kind of request that clients make."""

    name: str = Field(
        default="requests",
        min_length=1,
        pattern=r"^\S(.*\S)?$",
        description="Its name in tables, plots and logs.",
    )
    share: float = Field(
        default=1.0, gt=0, le=1e6, description="Its part of all requests, relative to the others'."
    )
    priority: int = Field(default=0, ge=0, lt=PRIORITIES, description="Higher ones leave a queue first.")
    entry: Call = Field(description="The client's call: where it goes, its time-out, its retries.")


class Application(Settings):
    """A call graph without cycles."""

    name: str = Field(default="application", min_length=1, description="Its name in tables and plots.")
    source: str = Field(default="", description="What it is modelled on.")
    services: tuple[Service, ...] = Field(min_length=1, max_length=200, description="The services.")
    classes: tuple[RequestClass, ...] = Field(
        min_length=1, max_length=100, description="What clients ask for."
    )

    @staticmethod
    def of(service: Service) -> Application:
        """One service that clients call directly."""
        return Application(
            name=service.name, services=(service,), classes=(RequestClass(entry=Call(to=service.name)),)
        )

    @property
    def is_one_queue(self) -> bool:
        """Whether it is no more than one queue that clients of one class join directly."""
        service, group = self.services[0], self.classes[0]
        alone = len(self.services) == len(self.classes) == 1
        return alone and service.is_one_queue and group.entry == Call(to=group.entry.to)

    @model_validator(mode="after")
    def _names(self) -> Application:
        for what, names in (
            ("services", [service.name for service in self.services]),
            ("classes", [group.name for group in self.classes]),
        ):
            if len(set(names)) < len(names):
                msg = f"{what} must have different names (they are {', '.join(names)})"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _graph(self) -> Application:
        reached = {place[0] for place in self._callers_first}
        for index, service in enumerate(self.services):
            if index not in reached:
                msg = f"service {service.name!r} is called by no class of requests"
                raise ValueError(msg)
        return self

    @cached_property
    def _callers_first(self) -> tuple[Place, ...]:
        """All operations that clients' requests can reach, each before those that it calls."""
        places = [
            self.find(callee, f"class {group.name!r}")
            for group in self.classes
            for callee in _callees(group.entry)
        ]
        graph: dict[Place, list[Place]] = {}
        while places:
            place = places.pop()
            if place not in graph:
                calls = _calls(self.operation(place))
                called = [
                    self.find(callee, self._title(place)) for call in calls for callee in _callees(call)
                ]
                graph[place] = called
                places += called
        try:
            callees_first = tuple(TopologicalSorter(graph).static_order())
        except CycleError as error:
            loop = " -> ".join(self._title(place) for place in reversed(error.args[1]))
            msg = f"the calls go in a circle: {loop}"
            raise ValueError(msg) from None
        return tuple(reversed(callees_first))

    def find(self, call: Callee, caller: str = "") -> Place:
        """The service's and the operation's place of a call or a fallback.

        Raises:
            ValueError: if there is none of that name.
        """
        name, operation = call.target
        index = self._places.get(name)
        if index is None:
            msg = f"{caller} calls {call.to!r}; there are the services {', '.join(self._places)}"
            raise ValueError(msg)
        operations = [each.name for each in self.services[index].all_operations]
        if not operation and len(operations) == 1:
            return index, 0
        if operation not in operations:
            msg = f"{caller} calls {call.to!r}; {name} has the operations {', '.join(operations)}"
            raise ValueError(msg)
        return index, operations.index(operation)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {service.name: index for index, service in enumerate(self.services)}

    @cached_property
    def left_by_fallbacks(self) -> tuple[int, ...]:
        """Places of the services whose calls may go elsewhere."""
        calls = [group.entry for group in self.classes]
        for service in self.services:
            for operation in service.all_operations:
                calls += _calls(operation)
        return tuple(sorted({self.find(call)[0] for call in calls if call.fallback is not None}))

    def operation(self, place: Place) -> Operation:
        """The operation at a place."""
        service, operation = place
        return self.services[service].all_operations[operation]

    def _title(self, place: Place) -> str:
        return f"{self.services[place[0]].name}.{self.operation(place).name}"

    @cached_property
    def visits(self) -> dict[Place, float]:
        """Calls of each operation that a client's request makes on average, first attempts alone, nothing diverted."""
        found = dict.fromkeys(self._callers_first, 0.0)
        whole = sum(group.share for group in self.classes)
        for group in self.classes:
            found[self.find(group.entry)] += group.share / whole * _times(group.entry)
        for place in self._callers_first:
            for call in _calls(self.operation(place)):
                found[self.find(call)] += found[place] * _times(call)
        return found

    @cached_property
    def _response_seconds(self) -> dict[Place, float]:
        """How long a call takes on average where nothing ever waits; parallel ones the longest of their means."""
        found: dict[Place, float] = {}
        for place in reversed(self._callers_first):
            operation = self.operation(place)
            found[place] = operation.service_time.mean_seconds
            for step in operation.steps:
                found[place] += max(
                    (c.probability * (2 * c.network_seconds + found[self.find(c)]) for c in step), default=0.0
                )
        return found

    def load_seconds(self) -> tuple[float, ...]:
        """Slot-seconds of each service that a client's request takes on average."""
        loads = [0.0] * len(self.services)
        for place, calls in self.visits.items():
            loads[place[0]] += calls * self._occupancy(place)
        return tuple(loads)

    def calls_per_request(self) -> tuple[float, ...]:
        """Calls of each service that a client's request leads to on average."""
        return tuple(
            sum(calls for place, calls in self.visits.items() if place[0] == index)
            for index in range(len(self.services))
        )

    def work_seconds(self) -> tuple[float, ...]:
        """Work of a call of each service, of its usual mix; of any mix where none come."""
        means = []
        for index in range(len(self.services)):
            calls = {place: visits for place, visits in self.visits.items() if place[0] == index}
            if not any(calls.values()):
                calls = dict.fromkeys(calls, 1.0)
            work = sum(
                visits * self.operation(place).service_time.mean_seconds for place, visits in calls.items()
            )
            means.append(work / sum(calls.values()))
        return tuple(means)

    def capacity_rps(self) -> tuple[float, ...]:
        """Calls/s of its usual mix that a pod of each service can serve at most; of any mix where none come."""
        capacities = []
        for index, service in enumerate(self.services):
            calls = {place: visits for place, visits in self.visits.items() if place[0] == index}
            if not any(calls.values()):
                calls = dict.fromkeys(calls, 1.0)
            occupied = sum(visits * self._occupancy(place) for place, visits in calls.items())
            capacities.append(service.slots_per_pod * sum(calls.values()) / occupied)
        return tuple(capacities)

    def _occupancy(self, place: Place) -> float:
        """Slot-seconds of one call; under processor sharing the CPU may be what binds, a batch is full."""
        service = self.services[place[0]]
        work = self.operation(place).service_time.mean_seconds
        held = self._response_seconds[place] if service.holds_slot_while_calling else work
        if service.discipline == "slots":
            return held
        if service.discipline == "batching":
            return held + work * (service.full_batch_slowdown - 1.0)
        return max(held, work * service.slots_per_pod / service.vcpu_per_pod)


def _calls(operation: Operation) -> list[Call]:
    return [call for step in operation.steps for call in step]


def _callees(call: Call) -> list[Callee]:
    return [call, call.fallback] if call.fallback else [call]


def _times(call: Call) -> float:
    return call.probability * call.count


def application_names() -> list[str]:
    """The applications that ship with setpoint."""
    folder = resources.files("simulator") / "applications"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


@cache
def load_application(name: str) -> Application:
    """An application that ships with setpoint, by name.

    Raises:
        InputError: if there is none of that name.
    """
    if name not in application_names():
        msg = f"application {name!r} is unknown; there are: {', '.join(application_names())}"
        raise InputError(msg)
    text = (resources.files("simulator") / "applications" / f"{name}.yaml").read_text(encoding="utf-8")
    return parse_settings(Application, text, f"application {name!r}")
