"""What ``make bench`` compares with: the same models in SimPy, a process a request, and in Ciw."""

from __future__ import annotations

from collections.abc import Generator

import ciw
import numpy as np
import simpy

from simulator.application import Application
from simulator.laws.draws import sample
from simulator.operation import Call

Steps = Generator[simpy.Event, object, bool]


def simpy_mmc(
    servers: int, rate_rps: float, mean_service_seconds: float, seconds: float, seed: int = 0
) -> int:
    """Requests of M/M/c served in simulated seconds by one SimPy process a request."""
    rng = np.random.default_rng(seed)
    env = simpy.Environment()
    slots = simpy.Resource(env, servers)
    served = 0

    def request(demand: float) -> Generator[simpy.Event]:
        nonlocal served
        with slots.request() as slot:
            yield slot
            yield env.timeout(demand)
        served += 1

    def source() -> Generator[simpy.Event]:
        while True:
            yield env.timeout(rng.exponential(1 / rate_rps))
            env.process(request(rng.exponential(mean_service_seconds)))

    env.process(source())
    env.run(until=seconds)
    return served


def ciw_mmc(servers: int, rate_rps: float, mean_service_seconds: float, seconds: float, seed: int = 0) -> int:
    """Requests of M/M/c served in simulated seconds by Ciw."""
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate=rate_rps)],
        service_distributions=[ciw.dists.Exponential(rate=1 / mean_service_seconds)],
        number_of_servers=[servers],
    )
    ciw.seed(seed)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(seconds)
    return len(simulation.nodes[-1].all_individuals)


class SimpyApplication:
    """An Application in SimPy: a process a call, a Resource a service, time-outs and retries.

    It leaves out what would slow it down further: budgets, breakers, network delay, priorities, single
    pods, processor sharing (each call works at its own pace). Every call is made once, and needed.
    """

    def __init__(self, application: Application, slots: tuple[int, ...], seed: int = 0) -> None:
        self._application = application
        self._env = simpy.Environment()
        self._slots = [simpy.Resource(self._env, count) for count in slots]
        self._rng = np.random.default_rng(seed)
        self._demands: dict[tuple[int, int], list[float]] = {}
        self.served = 0

    def run(self, rate_rps: float, seconds: float) -> int:
        """Requests served in simulated seconds."""
        shares = np.array([group.share for group in self._application.classes])
        self._env.process(self._source(rate_rps, np.cumsum(shares / shares.sum())))
        self._env.run(until=seconds)
        return self.served

    def _source(self, rate_rps: float, shares: np.ndarray) -> Generator[simpy.Event]:
        while True:
            yield self._env.timeout(self._rng.exponential(1 / rate_rps))
            group = self._application.classes[int(np.searchsorted(shares, self._rng.random()))]
            self._env.process(self._request(group.entry))

    def _request(self, entry: Call) -> Steps:
        answered = yield from self._call(entry)
        self.served += answered
        return answered

    def _call(self, call: Call) -> Steps:
        for _ in range(call.retry.max_attempts if call.retry else 1):
            attempt = self._env.process(self._serve(call))
            if call.timeout_seconds is None:
                yield attempt
                return True
            yield attempt | self._env.timeout(call.timeout_seconds)
            if attempt.processed:
                return True
        return False

    def _serve(self, call: Call) -> Steps:
        place = self._application.find(call)
        with self._slots[place[0]].request() as slot:
            yield slot
            yield self._env.timeout(self._demand(place))
            for step in self._application.operation(place).steps:
                yield simpy.AllOf(self._env, [self._env.process(self._call(each)) for each in step])
        return True

    def _demand(self, place: tuple[int, int]) -> float:
        left = self._demands.get(place)
        if not left:
            law = self._application.operation(place).service_time
            left = sample(law, np.uint64(self._rng.integers(2**63)), 4096).tolist()
            self._demands[place] = left
        return left.pop()
