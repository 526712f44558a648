"""The batch engine's clusters for stable-baselines3."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from agents.learn.vec_env import MOST_REPEATS, BoundedReward, ExploringStarts, blind_steps, bounded
from envs.task import Task
from envs.vector import AutoscaleVectorEnv
from simulator.trace import Trace

_COHORTS = 4
_EXPLORING = 0xE5
"""Sets the exploring starts' randomness apart from that of the clusters with the same seed."""

Infos = list[dict[str, Any]]


class BatchVecEnv(VecEnv):
    """N clusters on the batch engine, with the rewards, starts and statistics of single training environments.

    Rewards are bounded and scaled as by ``BoundedReward``. Clusters belong to a few cohorts whose episodes begin and
    end together: a cohort passes its blind steps and some repeats of one random action, each cluster its own, before
    its first observation is shown, as ``ExploringStarts`` does. The cohorts' first episodes are cut at even parts of
    the horizon, so that every rollout holds all parts of an episode.

    An episode ends truncated: its info has ``terminal_observation``, ``TimeLimit.truncated`` and, as from ``Monitor``,
    ``episode`` with the sum of the rewards ``r``, the steps ``l`` and the seconds since the beginning ``t``.

    Args:
        trace: episodes are taken from it; None draws them from the task's workload model.
        count: N.
    """

    def __init__(self, task: Task, trace: Trace | None, count: int) -> None:
        sizes = [len(part) for part in np.array_split(np.arange(count), min(_COHORTS, count))]
        self._cohorts = [_Cohort(task, trace, size) for size in sizes]
        self._edges = np.cumsum([0, *sizes])
        env = self._cohorts[0].env
        self._actions = np.zeros(count, np.int64)
        self._began = time.monotonic()
        super().__init__(count, env.single_observation_space, env.single_action_space)

    def reset(self) -> NDArray[np.float32]:
        """Begin an episode of every cluster: float32 ``(N, F)``."""
        seeds = [seed for seed in self._seeds if seed is not None]
        parts = len(self._cohorts)
        observations = [
            cohort.begin(seeds[begin:end], share=(place + 1) / parts)
            for place, (cohort, begin, end) in enumerate(self._placed())
        ]
        self._reset_seeds()
        self._reset_options()
        return np.concatenate(observations)

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Take the actions, int64 ``(N,)``, of S services ``(N, S)``."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], Infos]:
        """Let one control period happen in every cluster."""
        observations, rewards, dones = [], [], np.zeros(self.num_envs, np.bool_)
        infos: Infos = [{} for _ in range(self.num_envs)]
        for cohort, begin, end in self._placed():
            seen, earned = cohort.step(self._actions[begin:end])
            if cohort.is_over:
                dones[begin:end] = True
                infos[begin:end] = cohort.last_infos(seen, round(time.monotonic() - self._began, 6))
                seen = cohort.begin()
            observations.append(seen)
            rewards.append(earned)
        return np.concatenate(observations), np.concatenate(rewards), dones, infos

    def close(self) -> None:
        """Give the threads back."""
        for cohort in self._cohorts:
            cohort.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the vector environment that each cluster belongs to."""
        return self._chosen((getattr(cohort.env, attr_name) for cohort in self._cohorts), indices)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:  # noqa: ANN401 - SB3's own
        """Set an attribute for all clusters.

        Raises:
            ValueError: if it is meant for some of them only, which share what they are in.
        """
        if len(list(self._get_indices(indices))) != self.num_envs:
            msg = f"{attr_name} is shared by clusters; it can be set for all {self.num_envs} of them only"
            raise ValueError(msg)
        for cohort in self._cohorts:
            setattr(cohort.env, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,  # noqa: ANN401 - SB3's own
        indices: VecEnvIndices = None,
        **method_kwargs: Any,  # noqa: ANN401 - SB3's own
    ) -> list[Any]:
        """Call a method of the vector environments; of an array with axis N each cluster gets its row."""
        called = (getattr(cohort.env, method_name)(*method_args, **method_kwargs) for cohort in self._cohorts)
        return self._chosen(called, indices)

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Whether what the wrapper does is done here."""
        does = wrapper_class in {Monitor, BoundedReward, ExploringStarts}
        return [does for _ in self._get_indices(indices)]

    def _placed(self) -> list[tuple[_Cohort, int, int]]:
        edges = self._edges.tolist()
        return list(zip(self._cohorts, edges[:-1], edges[1:], strict=True))

    def _chosen(self, found: Iterable[Any], indices: VecEnvIndices) -> list[Any]:
        """One value for each of these clusters, from one for each cohort."""
        every: list[Any] = []
        for cohort, value in zip(self._cohorts, found, strict=True):
            count = cohort.env.num_envs
            rows = isinstance(value, np.ndarray) and value.ndim > 0 and len(value) == count
            every.extend(value if rows else [value] * count)
        return [every[place] for place in self._get_indices(indices)]


class _Cohort:
    """Clusters whose episodes begin and end together."""

    def __init__(self, task: Task, trace: Trace | None, count: int) -> None:
        self.env = AutoscaleVectorEnv(count, task, trace, autoreset_mode=AutoresetMode.DISABLED)
        horizon = round(task.horizon_seconds / task.period_seconds)
        self._hold = task.actions.hold
        self._choices = task.actions.count
        self._before = min(blind_steps(task, task.randomization.lag[1]) + MOST_REPEATS, horizon // 4)
        self._longest = horizon - self._before
        self._length = self._longest
        self._step = 0
        self._returns = np.zeros(count)
        self._rng = np.random.default_rng()

    @property
    def is_over(self) -> bool:
        """Whether the episodes have ended."""
        return self._step >= self._length

    def begin(self, seeds: Sequence[int] = (), share: float = 1.0) -> NDArray[np.float32]:
        """Begin episodes and cut them at a share of their length: the first observations, float32 ``(n, F)``.

        Args:
            seeds: one of each cluster; by default they go on as they are.
        """
        count = self.env.num_envs
        if seeds:
            self._rng = np.random.default_rng([seeds[0], _EXPLORING])
        observations, _ = self.env.reset(seed=seeds or None)
        repeats = self._rng.integers(MOST_REPEATS + 1, size=count)
        repeated = self._rng.integers(self._choices, size=self.env.action_space.shape)
        for left in range(self._before, 0, -1):
            waits = left > repeats
            observations, *_ = self.env.step(
                np.where(waits if repeated.ndim == 1 else waits[:, np.newaxis], self._hold, repeated)
            )
        self._step, self._length = 0, max(1, round(share * self._longest))
        self._returns[:] = 0
        return observations

    def step(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Observations ``(n, F)`` and bounded rewards ``(n,)`` of a control period."""
        observations, rewards, *_ = self.env.step(actions)
        earned = bounded(rewards)
        self._returns += earned
        self._step += 1
        return observations, earned.astype(np.float32)

    def last_infos(self, observations: NDArray[np.float32], seconds: float) -> Infos:
        """What is told of each ended episode."""
        return [
            {
                "terminal_observation": observation,
                "TimeLimit.truncated": True,
                "episode": {"r": total, "l": self._step, "t": seconds},
            }
            for observation, total in zip(observations, self._returns.tolist(), strict=True)
        ]
