"""Many environments at once for stable-baselines3."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import gymnasium
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from envs.autoscale import AutoscaleEnv
from envs.task import Task
from simulator.trace import Trace

WORST_STEP_REWARD = -60.0
"""A step's reward is not let below this in training: a long outage is bad enough at that."""


class BoundedReward(gymnasium.RewardWrapper[Any, Any]):
    """Rewards in [-1, 0], for training only: bounded below and scaled, never shifted."""

    def reward(self, reward: Any) -> float:  # noqa: ANN401 - Gymnasium's SupportsFloat
        """The bounded, scaled reward."""
        return max(float(reward), WORST_STEP_REWARD) / -WORST_STEP_REWARD


def make_vec_env(task: Task, trace: Trace | None, count: int, *, processes: bool) -> VecEnv:
    """``count`` environments of a task, each in a process of its own if asked for."""

    def maker() -> Callable[[], gymnasium.Env[Any, Any]]:
        def make() -> gymnasium.Env[Any, Any]:
            if processes:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            return Monitor(BoundedReward(AutoscaleEnv(task, trace)))

        return make

    makers = [maker() for _ in range(count)]
    return SubprocVecEnv(makers, start_method="fork") if processes else DummyVecEnv(makers)
