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
from simulator.trace import Trace

WORST_STEP_REWARD = -60.0
"""A step's reward is not let below this in training: a long outage is bad enough at that."""

_MOST_REPEATS = 4


class BoundedReward(gymnasium.RewardWrapper[Any, Any]):
    """Rewards in [-1, 0], for training only: bounded below and scaled, never shifted."""

    def reward(self, reward: Any) -> float:  # noqa: ANN401 - Gymnasium's SupportsFloat
        """The bounded, scaled reward."""
        return max(float(reward), WORST_STEP_REWARD) / -WORST_STEP_REWARD


class ExploringStarts(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Episodes begin after some repeats of one random action, so that overload and idle pods are met often.

    Source: exploring starts; Sutton and Barto, Reinforcement Learning, 2nd ed., section 5.3.
    """

    def __init__(self, env: AutoscaleEnv) -> None:
        super().__init__(env)
        task, metrics = env.task, env.task.scenario.metrics
        blind_seconds = metrics.scrape_seconds + metrics.window_seconds + metrics.lag_seconds
        blind = math.ceil(blind_seconds / task.period_seconds)
        self._blind = [np.int64(task.actions.hold)] * blind
        self._actions = task.actions.count
        self._most = round(task.horizon_seconds / task.period_seconds) // 4

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Wait until metrics are seen, then repeat an action up to four times, all within a quarter of the episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        rng = self.env.np_random
        repeats = int(rng.integers(_MOST_REPEATS + 1))
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
