"""What ``make bench`` measures of the batch engine, and the plain Python step that it is compared with."""

from __future__ import annotations

import math
import random
import resource
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import gymnasium
import numpy as np

from envs.vector import AutoscaleVectorEnv, make_vector_env

CLUSTERS, MANY_CLUSTERS = 4096, 16_384
_CHANGES = (-0.5, -0.25, -0.1, -0.01, 0.0, 0.01, 0.1, 0.25, 0.5, 1.0)
_STEPS_A_LOOK = 16
_MIB = 1024**2


class VectorSteps:
    """Steps of ``setpoint/Web-v1`` as it ships or of another task, in a batch, with random actions and autoreset."""

    def __init__(self, clusters: int = CLUSTERS, task: str = "web") -> None:
        self._env: AutoscaleVectorEnv = gymnasium.make_vec("setpoint/Web-v1", num_envs=clusters, task=task)  # type: ignore[assignment]
        self._rng = np.random.default_rng(0)
        self._env.reset(seed=0)
        self.cpu_ns: list[float] = []
        """CPU time of a cluster's step, of each run so far, nanoseconds."""

    def run(self, seconds: float) -> int:
        """Go on for at least so long; how many steps of single clusters that were."""
        env = self._env
        begin, cpu_begin, steps = time.perf_counter(), time.process_time(), 0
        while steps == 0 or time.perf_counter() - begin < seconds:
            for _ in range(_STEPS_A_LOOK):
                env.step(self._rng.integers(0, env.task.actions.count, env.action_space.shape))
            steps += _STEPS_A_LOOK * env.num_envs
        self.cpu_ns.append(1e9 * (time.process_time() - cpu_begin) / steps)
        return steps


class PlainCluster:
    """One cluster like the batch engine's, in plain Python and with less detail: what a first try looks like."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - a simulation
        self._wanted = self._ready = 4
        self._starting: list[float] = []
        self._now = self._backlog = 0.0
        self._rates: deque[float] = deque([0.0] * 21, maxlen=21)

    def step(self, action: int) -> tuple[list[float], float]:
        """Ask for replicas and let 15 s happen: an observation and a reward."""
        rng, mean, slots = self._rng, 0.05, 4
        change = _CHANGES[action]
        self._scale(math.copysign(max(1, round(abs(change) * self._wanted)), change) if change else 0)
        offered = late = busy = 0.0
        for _ in range(3):
            self._now += 5.0
            come = [moment for moment in self._starting if moment <= self._now]
            self._starting = [moment for moment in self._starting if moment > self._now]
            self._ready += len(come)
            expected = 5.0 * 200.0 * (1 + 0.5 * math.sin(2 * math.pi * self._now / 86_400))
            calls = max(0.0, rng.gauss(expected, math.sqrt(expected)))
            capacity = 5.0 * self._ready * slots
            done = min(self._backlog + calls * mean, capacity)
            self._backlog += calls * mean - done
            wait = self._backlog / (self._ready * slots)
            late += calls * (math.exp(-(0.3 - wait) / mean) if wait < 0.3 else 1.0)
            offered, busy = offered + calls, busy + done
        self._rates.append(offered / 15.0)
        pods = self._ready + len(self._starting)
        cost = pods * 15.0 * 0.04 / 3600
        room = self._wanted * slots / mean
        now, before, long_before = self._rates[-1], self._rates[-5], self._rates[0]
        observation = [
            math.log2(1 + self._wanted) / 8,
            self._ready / self._wanted,
            len(self._starting) / self._wanted,
            busy / (15.0 * self._ready * slots),
            now / room,
            (now - before) / room / 0.5,
            (now - long_before) / room / 0.5,
            max(self._rates) / room,
            math.log1p(self._backlog / (self._ready * slots) / 0.3),
            math.log1p(self._backlog / mean / (self._wanted * slots)),
        ]
        return [min(max(value, -10.0), 10.0) for value in observation], -(cost + 3e-5 * late)

    def _scale(self, change: float) -> None:
        self._wanted = min(max(self._wanted + int(change), 2), 200)
        missing = self._wanted - self._ready - len(self._starting)
        for _ in range(missing):
            self._starting.append(self._now + self._rng.lognormvariate(math.log(25.0), 0.357))
        for _ in range(-missing):
            if self._starting:
                self._starting.pop()
            else:
                self._ready -= 1


def plain_steps(steps: int) -> int:
    """So many steps of a PlainCluster with random actions."""
    cluster, rng = PlainCluster(), random.Random(1)  # noqa: S311 - a simulation
    for _ in range(steps):
        cluster.step(rng.randrange(len(_CHANGES)))
    return steps


def memory_of(clusters: int) -> float:
    """What ``memory_growth`` says in a process of its own."""
    code = f"from experiments.bench_batch import memory_growth; print(memory_growth({clusters}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603 - our own code
    return float(done.stdout)


def memory_growth(clusters: int) -> float:
    """MiB by which this process, if it is fresh, grows for so many clusters that have gone through an episode."""
    _episode(1)
    before = _resident_mib()
    env = _episode(clusters)
    growth = _resident_mib() - before
    env.close()
    return growth


def _episode(clusters: int) -> AutoscaleVectorEnv:
    env = make_vector_env(clusters)
    env.reset(seed=0)
    hold = np.full(clusters, env.task.actions.hold)
    for _ in range(round(env.task.horizon_seconds / env.task.period_seconds) + 1):
        env.step(hold)
    return env


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / _MIB
