"""Clusters of the batch engine as stable-baselines3 expects environments to be."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecMonitor

from agents.learn import batch_vec_env
from agents.learn.batch_vec_env import BatchVecEnv
from agents.learn.vec_env import WORST_STEP_REWARD, BoundedReward, ExploringStarts
from envs.autoscale import AutoscaleEnv
from envs.observer import FEATURES
from envs.task import load_task
from envs.vector import AutoscaleVectorEnv
from simulator.trace import Trace

TASK = load_task("web").model_copy(update={"horizon_seconds": 600.0})
WAVES = Trace(60 * (200 + 150 * np.sin(np.arange(90) / 6)), 60.0, name="waves.csv")
COUNT = 10
HOLD = np.full(COUNT, TASK.actions.hold)
STEPS, BEFORE = 40, 8
"""Of an episode; those before its first observation: 60 s until metrics are seen for certain, four repeats."""


def made(seed: int | None = 7, count: int = COUNT, trace: Trace | None = WAVES) -> BatchVecEnv:
    env = BatchVecEnv(TASK, trace, count)
    env.seed(seed)
    return env


def played(env: BatchVecEnv, steps: int = 50) -> list[tuple[Any, ...]]:
    """What is seen after each of some steps of random actions, the first observations first."""
    rng = np.random.default_rng(1)
    return [(env.reset(),)] + [env.step(rng.integers(10, size=env.num_envs)) for _ in range(steps)]


def test_services_that_call_each_other_have_an_action_each() -> None:
    task = load_task("shop3").model_copy(update={"horizon_seconds": 600.0})
    env, single = BatchVecEnv(task, WAVES, 5), AutoscaleEnv(task)
    assert env.action_space == single.action_space
    env.seed(7)
    observations = env.reset()
    for action in (0, task.actions.hold, 9):
        observations, rewards, _, _ = env.step(np.full((5, 3), action))
        assert observations.shape == (5, *single.observation_space.shape)
        assert rewards.shape == (5,)
    PPO("MlpPolicy", env, n_steps=4, batch_size=20, n_epochs=1, device="cpu").learn(20)


def test_spaces_shapes_and_types_are_those_of_the_environment() -> None:
    env, single = made(), AutoscaleEnv(TASK)
    assert (env.num_envs, env.observation_space, env.action_space) == (
        COUNT,
        single.observation_space,
        single.action_space,
    )
    (first,), *later = played(env)
    for observations in (first, *(step[0] for step in later)):
        assert (observations.shape, observations.dtype) == ((COUNT, len(FEATURES)), np.float32)
        assert all(env.observation_space.contains(row) for row in observations)
    for _, rewards, dones, infos in later:
        assert (rewards.shape, rewards.dtype) == ((COUNT,), np.float32)
        assert (dones.shape, dones.dtype) == ((COUNT,), np.bool_)
        assert len(infos) == COUNT
        assert (rewards >= -1).all()
        assert (rewards <= 0).all()
        assert dones.tolist() == ["terminal_observation" in info for info in infos]


def test_arrays_that_were_returned_stay_as_they_are() -> None:
    seen = played(made())
    copies = [np.copy(step[0]) for step in seen]
    assert len({step[0].tobytes() for step in seen}) > 40
    assert all(np.array_equal(step[0], copy) for step, copy in zip(seen, copies, strict=True))


def test_rewards_are_those_of_the_engine_bounded_as_those_of_a_single_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw: list[NDArray[Any]] = []
    step = AutoscaleVectorEnv.step

    def spy(self: AutoscaleVectorEnv, actions: NDArray[np.int64]) -> Any:
        result = step(self, actions)
        raw.append(result[1].copy())
        return result

    monkeypatch.setattr(batch_vec_env, "_COHORTS", 1)
    monkeypatch.setattr(AutoscaleVectorEnv, "step", spy)
    env, wrapped = made(count=64), BoundedReward(AutoscaleEnv(TASK))
    env.reset()
    raw.clear()
    down = np.zeros(64, np.int64)
    earned = [env.step(down)[1] for _ in range(STEPS - BEFORE)]
    assert min(rewards.min() for rewards in raw) < WORST_STEP_REWARD, "the bound was met"
    expected = [[np.float32(wrapped.reward(reward)) for reward in rewards] for rewards in raw[: len(earned)]]
    assert np.array_equal(earned, expected)


def test_an_ended_episode_tells_its_last_observation_and_what_it_came_to() -> None:
    env = made()
    before = env.reset()
    totals, lengths, ended = np.zeros(COUNT), np.zeros(COUNT, np.int64), 0
    for _ in range(2 * STEPS):
        observations, rewards, dones, infos = env.step(HOLD)
        totals, lengths = totals + rewards, lengths + 1
        for place in np.flatnonzero(dones):
            info, first = infos[place], observations[place]
            ended += 1
            assert info["TimeLimit.truncated"] is True
            assert not np.array_equal(info["terminal_observation"], first)
            assert env.observation_space.contains(info["terminal_observation"])
            assert info["episode"]["r"] == pytest.approx(totals[place], rel=1e-5)
            assert info["episode"]["l"] == lengths[place]
            assert info["episode"]["t"] >= 0
            totals[place] = lengths[place] = 0
        assert not np.array_equal(before, observations)
        before = observations
    assert ended > COUNT


def test_the_last_observation_is_the_one_before_the_next_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step beside the engine's own environment, which is given the same actions."""
    monkeypatch.setattr(batch_vec_env, "_COHORTS", 1)
    monkeypatch.setattr(batch_vec_env, "MOST_REPEATS", 0)
    monkeypatch.setattr(batch_vec_env, "blind_steps", lambda task, lag_factor: 0)
    env = made()
    beside = AutoscaleVectorEnv(COUNT, TASK, WAVES, autoreset_mode=AutoresetMode.SAME_STEP)
    assert np.array_equal(env.reset(), beside.reset(seed=list(range(7, 7 + COUNT)))[0])
    rng = np.random.default_rng(1)
    for _ in range(2 * STEPS + 1):
        actions = rng.integers(10, size=COUNT)
        observations, _, dones, infos = env.step(actions)
        others, _, _, truncated, info = beside.step(actions)
        assert np.array_equal(dones, truncated)
        if dones.any():
            last = np.stack([one["terminal_observation"] for one in infos])
            assert np.array_equal(last, np.stack(list(info["final_obs"])))
        assert np.array_equal(observations[~dones], others[~dones])


def test_episodes_end_at_four_different_times_and_are_whole_after_the_first() -> None:
    env = made()
    env.reset()
    ends = [np.flatnonzero(env.step(HOLD)[2]).tolist() for _ in range(3 * (STEPS - BEFORE))]
    when = [step + 1 for step, ended in enumerate(ends) if ended]
    length = STEPS - BEFORE
    assert when[:4] == [length // 4, length // 2, 3 * length // 4, length]
    assert sorted(itertools.chain(*(ends[step - 1] for step in when[:4]))) == list(range(COUNT))
    assert when[4:8] == [end + length for end in when[:4]]


def test_episodes_start_from_overload_and_from_idle_pods_and_never_blind() -> None:
    starts = made(count=400).reset()
    features = {feature.name: index for index, feature in enumerate(FEATURES)}
    assert not starts[:, features["metric_missing"]].any()
    loads = starts[:, features["load"]]
    assert (loads > 1.2).mean() > 0.05
    assert (loads < 0.5).mean() > 0.05


def test_the_shortest_episodes_keep_three_quarters_to_learn_from() -> None:
    env = BatchVecEnv(TASK.model_copy(update={"horizon_seconds": 60.0}), WAVES, 1)
    env.reset()
    assert [bool(env.step(np.array([4]))[2][0]) for _ in range(6)] == [False, False, True] * 2


def test_the_seed_decides_all_and_later_episodes_differ() -> None:
    def bytes_of(seed: int) -> bytes:
        return b"".join(np.asarray(part).tobytes() for step in played(made(seed)) for part in step[:3])

    assert bytes_of(7) == bytes_of(7)
    assert bytes_of(7) != bytes_of(8)
    env = made()
    assert not np.array_equal(env.reset(), env.reset())


def test_methods_and_attributes_are_given_by_cluster() -> None:
    env = made()
    env.reset()
    masks = env.env_method("action_masks")
    assert len(masks) == COUNT
    assert all(mask.shape == (10,) and mask[TASK.actions.hold] for mask in masks)
    chosen = env.env_method("action_masks", indices=[9, 0])
    assert np.array_equal(chosen, [masks[9], masks[0]])
    assert env.get_attr("task") == [TASK] * COUNT
    assert env.get_attr("task", 3) == [TASK]
    assert env.has_attr("clusters")
    assert not env.has_attr("nonsense")
    env.set_attr("note", "set")
    assert env.get_attr("note", [0, 9]) == ["set"] * 2
    with pytest.raises(ValueError, match="note is shared by clusters; it can be set for all 10 of them only"):
        env.set_attr("note", "other", indices=3)
    assert env.env_is_wrapped(Monitor) == env.env_is_wrapped(ExploringStarts) == [True] * COUNT
    assert env.env_is_wrapped(VecMonitor, [1, 2]) == [False] * 2  # type: ignore[arg-type]


def test_an_agent_learns_and_is_evaluated_on_it() -> None:
    env = made()
    agent = PPO("MlpPolicy", env, n_steps=32, batch_size=64, n_epochs=1, seed=3, device="cpu")
    agent.learn(1280)
    assert agent.ep_info_buffer
    assert {episode["l"] for episode in agent.ep_info_buffer} >= {STEPS - BEFORE}
    reward, spread = evaluate_policy(agent, env, n_eval_episodes=COUNT)
    assert -(STEPS - BEFORE) < reward < 0
    assert spread > 0
