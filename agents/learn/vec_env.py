"""Many environments at once for stable-baselines3."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from envs.autoscale import AutoscaleEnv
from envs.task import Task
from simulator.arrays import Floats
from simulator.trace import Trace

WORST_STEP_REWARD = -60.0
"""A step's reward is not let below this in training: a long outage is bad enough at that."""

MOST_REPEATS = 4
"""Of the one random action that an episode begins with."""


def bounded(reward: float | Floats) -> Floats:
    """Rewards in [-1, 0], for training only: bounded below and scaled, never shifted."""
    return np.asarray(np.maximum(reward, WORST_STEP_REWARD) / -WORST_STEP_REWARD)


def blind_steps(task: Task, lag_factor: float = 1.0) -> int:
    """Control periods until a cluster's first metrics are seen, if none are lost."""
    metrics = task.scenario.metrics
    seconds = metrics.scrape_seconds + metrics.window_seconds + metrics.lag_seconds * lag_factor
    return math.ceil(seconds / task.period_seconds)


class BoundedReward(gymnasium.RewardWrapper[Any, Any]):
    """An environment with bounded, scaled rewards."""

    def reward(self, reward: Any) -> float:  # noqa: ANN401 - Gymnasium's SupportsFloat
        """The bounded, scaled reward."""
        return float(bounded(float(reward)))


class ExploringStarts(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Episodes begin after some repeats of one random action, so that overload and idle pods are met often.

    Source: exploring starts; Sutton and Barto, Reinforcement Learning, 2nd ed., section 5.3.
    """

    def __init__(self, env: AutoscaleEnv) -> None:
        super().__init__(env)
        task = env.task
        self._blind = [np.int64(task.actions.hold)] * blind_steps(task)
        self._actions = task.actions.count
        self._most = round(task.horizon_seconds / task.period_seconds) // 4

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Wait until metrics are seen, then repeat an action up to four times, all within a quarter of the episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        rng = self.env.np_random
        repeats = int(rng.integers(MOST_REPEATS + 1))
        actions = self._blind + [np.int64(rng.integers(self._actions))] * repeats
        for action in actions[: self._most]:
            observation, _, _, _, info = self.env.step(action)
        return observation, info


def make_vec_env(task: Task, trace: Trace | None, count: int, *, processes: bool) -> VecEnv:
    """``count`` environments of a task, each in a process of its own if asked for."""

    def maker() -> Callable[[], gymnasium.Env[Any, Any]]:
        def make() -> gymnasium.Env[Any, Any]:
            if processes:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            return Monitor(BoundedReward(ExploringStarts(AutoscaleEnv(task, trace))))

        return make

    makers = [maker() for _ in range(count)]
    return SubprocVecEnv(makers, start_method="fork") if processes else DummyVecEnv(makers)
