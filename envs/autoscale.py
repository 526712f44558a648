"""AutoscaleEnv: a Task as a Gymnasium environment on the request engine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.task import Task, load_task
from simulator.cluster import Cluster
from simulator.errors import InputError
from simulator.ownership import check_import_names
from simulator.plant import ChangeRefused, Interval, Snapshot
from simulator.trace import Trace, read_trace

_DAY_SECONDS = 86_400.0
_DRAWN_DAYS = 7
_GRID_SECONDS = 60.0

Observation = NDArray[np.float32]
Action = np.int64 | NDArray[np.int64]


class AutoscaleEnv(gymnasium.Env[Observation, Action]):
    """Choose how many replicas a web service runs, every 15 seconds for an hour.

    ## Description
    A service of pods with four slots each serves requests from one FCFS queue. Every request is
    simulated. Pods take about 25 s to start, metrics are 15 to 30 s old, and each pod costs money
    from creation until it is gone. The goal is few pods without requests slower than the SLO.

    ## Action Space
    `Discrete(10)`: change the wanted replicas by -50, -25, -10, -1, 0, +1, +10, +25, +50 or
    +100 %, rounded, by at least one replica; the Guard then clips to 2..200 replicas.
    `info["action_mask"]` says which actions pass unclipped. A task of S services has
    `MultiDiscrete([10] * S)` and a mask of shape (S, 10).

    ## Observation Space
    `Box((14,), float32)`; `envs.observer.FEATURES` names each feature with unit, scale and bounds:
    replicas wanted, ready, starting, draining; CPU; offered load, its change and its highest value
    of five minutes; p95 latency; queue; the age of the metrics; two flags for missing metrics. A
    missing metric is 0 with its flag set. A task of S services has 14 S features, feature by feature.

    ## Rewards
    `-(cost_usd + usd_per_violation x violations) / unit`: what the pods cost in the step and what
    its violations are worth. The unit is what the pods cost that the mean load keeps fully busy,
    so a perfectly packed service at mean load earns -1 a step.

    ## Starting State
    A week is drawn from the task's workload model (or taken from `trace`) and an hour of it, from
    a random minute. The cluster starts with pods staffed for the first minute's load, and no
    metrics have been seen yet.

    ## Episode End
    Truncated after `horizon_seconds` (240 steps). Never terminated.

    ## Information
    `cost_usd`, `violations`, `offered` of the step, `replicas` wanted after it (of all services), and
    `action_mask`. `reset` adds `start_seconds`, where in the drawn week the hour begins.

    ## Arguments
    `task`: name, YAML file or Task. `trace`: a Trace (`simulator.trace`) or a CSV file
    (`t_seconds,requests`) to take episodes from.
    `reset(options={"start_seconds": s})` fixes the start.

    ## Version History
    * v1: the first. A new version is due when the same seed and actions give other observations,
      rewards or ends: a change of the engine's results, the Observer's version, the action table,
      the reward, the default task or the workload model. Speed, documentation and keys added to
      `info` do not change the version.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own way of declaring it

    def __init__(
        self,
        task: str | Path | Task = "web",
        trace: Trace | str | Path | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.task = task if isinstance(task, Task) else load_task(task)
        self.render_mode = render_mode
        self._interface = self.task.interface
        self._reward = self.task.reward
        read = read_trace(trace) if isinstance(trace, str | Path) else trace
        self._trace = None if read is None else read.refine()
        self._steps = round(self.task.horizon_seconds / self.task.period_seconds)
        if self._trace is not None and self._trace.duration_seconds < self.task.horizon_seconds:
            msg = (
                f"{self._trace.name}: the trace has {self._trace.duration_seconds:g} s; "
                f"an episode needs {self.task.horizon_seconds:g} s"
            )
            raise InputError(msg)
        self._observer = self._interface.new_observer()
        self._guard = self._interface.new_guard()
        low, high = self._observer.bounds
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        services, actions = len(self._interface.services), self._interface.actions.count
        self.action_space = (
            spaces.Discrete(actions) if services == 1 else spaces.MultiDiscrete([actions] * services)
        )
        self._cluster: Cluster
        self._snapshot: Snapshot
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start another episode; options may fix ``start_seconds``."""
        super().reset(seed=seed)
        rng = self.np_random
        trace = self._trace
        if trace is None:
            trace = self.task.scenario.workload.draw(_DRAWN_DAYS * _DAY_SECONDS, rng)
        latest = trace.duration_seconds - self.task.horizon_seconds
        start = _GRID_SECONDS * int(rng.integers(int(latest // _GRID_SECONDS) + 1))
        start = float((options or {}).get("start_seconds", start))
        part = trace.slice(trace.start_seconds + start, self.task.horizon_seconds)
        self._cluster = self.task.build(int(rng.integers(2**63)), part)
        self._observer.reset()
        self._guard.reset()
        self._step = 0
        observation = self._look()
        return observation, {"start_seconds": start, "action_mask": self._mask()}

    def step(self, action: Action) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Ask for replicas and let one control period happen.

        Raises:
            InputError: if there is no such action, or the episode is over.
        """
        actions = np.atleast_1d(action)
        count, services = self._interface.actions.count, len(self._interface.services)
        is_whole = np.issubdtype(actions.dtype, np.integer)
        if actions.shape != (services,) or not is_whole or ((actions < 0) | (actions >= count)).any():
            each = "" if services == 1 else f" for each of {services} services"
            msg = f"action is {action}; must be a whole number, 0 to {count - 1}{each}"
            raise InputError(msg)
        if self._step >= self._steps:
            msg = "the episode is over; call reset()"
            raise InputError(msg)
        wish = self._interface.actions.desired(actions, self._snapshot)
        with contextlib.suppress(ChangeRefused):  # the API may refuse; the next step looks again
            self._cluster.apply(self._guard.allow(self._snapshot, wish))
        interval = self._cluster.advance(self.task.period_seconds)
        self._step += 1
        observation = self._look()
        truncated = self._step >= self._steps
        return observation, float(self._reward.of(interval)), False, truncated, self._info(interval)

    def _look(self) -> Observation:
        self._snapshot = self._cluster.snapshot()
        return self._observer.observe(self._snapshot)

    def _mask(self) -> NDArray[np.int8]:
        mask = self._interface.actions.mask(self._snapshot, self._guard)
        return np.asarray(mask[0] if len(mask) == 1 else mask, dtype=np.int8)

    def _info(self, interval: Interval) -> dict[str, Any]:
        return {
            "cost_usd": float(interval.total_usd),
            "violations": int(interval.requests.late[:, 0].sum()),
            "offered": int(interval.requests.offered.sum()),
            "replicas": int(self._snapshot.wanted.sum()),
            "action_mask": self._mask(),
        }


def make_env(
    task: str | Path | Task = "web",
    trace: Trace | str | Path | None = None,
    render_mode: str | None = None,
) -> AutoscaleEnv:
    """What ``gymnasium.make`` calls.

    Raises:
        InputError: if another distribution owns one of setpoint's import names, too.
    """
    check_import_names()
    return AutoscaleEnv(task, trace, render_mode)
