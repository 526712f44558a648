from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_sb3_env

from envs.autoscale import AutoscaleEnv
from envs.names import env_id, task_names
from envs.task import load_task
from simulator.errors import InputError
from simulator.trace import Trace


def overload(factor: float = 4.0) -> Trace:
    """A quiet ten minutes, then far more load than the first pods can serve."""
    rate = np.concatenate([np.full(10, 100.0), np.full(110, 100.0 * factor)])
    return Trace(60.0 * rate, 60.0, name="step")


def play(env: gymnasium.Env[Any, Any], seed: int, actions: list[int]) -> bytes:
    observation, _ = env.reset(seed=seed)
    record = [observation.tobytes()]
    for action in actions:
        observation, reward, *_, info = env.step(np.int64(action))
        record.append(observation.tobytes() + np.float64(reward).tobytes() + str(info["violations"]).encode())
    return b"".join(record)


def test_it_is_made_after_importing_gymnasium_alone() -> None:
    program = "import gymnasium; env = gymnasium.make('setpoint/Web-v1'); print(env.reset(seed=3)[0].shape)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(14,)"


@pytest.mark.parametrize("name", task_names())
def test_every_task_is_registered(name: str) -> None:
    env = gymnasium.make(env_id(name))
    assert env.unwrapped.task.name == name  # type: ignore[attr-defined]
    assert env_id("llm-inference") == "setpoint/LlmInference-v1"


def test_the_checkers_pass() -> None:
    check_env(gymnasium.make("setpoint/Web-v1").unwrapped, skip_render_check=True)
    check_sb3_env(AutoscaleEnv())


@pytest.mark.parametrize("name", task_names())
def test_every_task_is_an_environment(name: str) -> None:
    """Ten minutes with random actions: observations are within bounds, costs are, and the seed is all there is."""
    task = load_task(name).model_copy(update={"horizon_seconds": 600.0})
    env = AutoscaleEnv(task)
    courses = []
    for _ in range(2):
        env.action_space.seed(5)
        observation, _ = env.reset(seed=11)
        course, ended = [observation], False
        while not ended:
            observation, reward, terminated, ended, info = env.step(env.action_space.sample())
            assert env.observation_space.contains(observation)
            assert np.isfinite(reward)
            assert info["cost_usd"] >= 0
            assert not terminated
            course.append(np.append(observation, [reward, info["cost_usd"]]))
        courses.append(np.concatenate(course))
    assert np.array_equal(*courses)
    assert len(courses[0]) > 40 * env.observation_space.shape[0]


def test_it_is_a_function_of_its_seed() -> None:
    actions = [int(action) for action in np.random.default_rng(0).integers(10, size=40)]
    first, again = play(AutoscaleEnv(), 7, actions), play(AutoscaleEnv(), 7, actions)
    assert first == again
    assert play(AutoscaleEnv(), 8, actions) != first


def test_an_episode_is_truncated_after_its_horizon_and_never_terminated() -> None:
    env = AutoscaleEnv()
    env.reset(seed=1)
    ends = [env.step(np.int64(4))[2:4] for _ in range(240)]
    assert ends == [(False, False)] * 239 + [(False, True)]


@pytest.mark.parametrize("action", range(10))
def test_each_action_changes_what_follows(action: int) -> None:
    costs, replicas = {}, {}
    for chosen in {action, 4}:
        env = AutoscaleEnv(trace=overload(1.0))
        env.reset(seed=5, options={"start_seconds": 0})
        for _ in range(8):
            env.step(np.int64(8))
        *_, info = env.step(np.int64(chosen))
        replicas[chosen] = info["replicas"]
        costs[chosen] = sum(env.step(np.int64(4))[4]["cost_usd"] for _ in range(4))
    change = env.task.actions.changes[action]
    assert np.sign(replicas[action] - replicas[4]) == np.sign(change)
    assert np.sign(round(costs[action] - costs[4], 12)) == np.sign(change)


def test_more_replicas_in_overload_mean_fewer_violations() -> None:
    violations = {}
    for action in (4, 9):
        env = AutoscaleEnv(trace=overload())
        env.reset(seed=5, options={"start_seconds": 0})
        violations[action] = sum(env.step(np.int64(action))[4]["violations"] for _ in range(80))
    assert violations[9] < violations[4] / 10


def test_a_step_opens_no_file_and_no_connection() -> None:
    env = AutoscaleEnv()
    env.reset(seed=0)
    env.step(np.int64(4))
    events: list[str] = []
    watching = True

    def hook(event: str, _arguments: object) -> None:
        if watching and event.startswith(("open", "socket", "subprocess", "os.")):
            events.append(event)

    sys.addaudithook(hook)
    for action in range(10):
        env.step(np.int64(action))
    watching = False
    assert events == []


def test_a_trace_shorter_than_an_episode_is_refused() -> None:
    with pytest.raises(InputError, match="an episode needs 3600 s"):
        AutoscaleEnv(trace=Trace(np.ones(5), 60.0, name="short"))


def test_the_checkers_have_nothing_to_complain_of() -> None:
    """Also as it is made by name: the passive checker and the order enforcer watch a whole episode."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sb3_env(AutoscaleEnv(), warn=True)
        check_env(AutoscaleEnv(), skip_render_check=True)
        env = gymnasium.make("setpoint/Web-v1")
        env.reset(seed=2)
        ended = False
        while not ended:
            *_, terminated, ended, _ = env.step(env.action_space.sample())
            assert not terminated


def test_after_the_episode_there_is_no_more_to_step_into() -> None:
    env = AutoscaleEnv(trace=overload())
    env.reset(seed=1, options={"start_seconds": 0})
    for _ in range(240):
        env.step(np.int64(4))
    with pytest.raises(InputError, match=r"the episode is over; call reset\(\)"):
        env.step(np.int64(4))
    env.reset()
    assert env.step(np.int64(4))[3] is False


@pytest.mark.parametrize("action", range(10))
def test_the_mask_tells_which_actions_the_guard_clips(action: int) -> None:
    env = AutoscaleEnv(trace=Trace(np.full(60, 300.0), 60.0, name="quiet"))
    for warm_up in ([4] * 3, [4] * 3 + [9] * 7):
        _, info = env.reset(seed=5, options={"start_seconds": 0})
        for chosen in warm_up:
            *_, info = env.step(np.int64(chosen))
        mask, before = info["action_mask"], int(env._snapshot.wanted[0])
        asked = int(env.task.actions.desired(np.array([action]), env._snapshot).replicas[0])
        *_, info = env.step(np.int64(action))
        low, high = (env.task.scenario.service.min_replicas, env.task.scenario.service.max_replicas)
        assert info["replicas"] == min(max(asked, low), high)
        assert mask[action] == (info["replicas"] == asked)
        assert before in (low, high), "one end of the bounds at a time, so that something is clipped"
        assert 0 < mask.sum() < 10
        assert env.action_space.contains(env.action_space.sample(mask))


def test_an_observation_is_what_the_observer_makes_of_the_snapshot_and_the_reward_of_the_interval() -> None:
    env = AutoscaleEnv(trace=overload())
    observation, _ = env.reset(seed=4, options={"start_seconds": 600})
    observer, cluster = env.task.interface.new_observer(), env._cluster
    observer.observe(env._snapshot) if observation[12] else pytest.fail(
        "metrics were seen before they were taken"
    )
    intervals = []
    advance = cluster.advance
    cluster.advance = lambda seconds: intervals.append(advance(seconds)) or intervals[-1]  # type: ignore[method-assign, func-returns-value]
    for step in range(30):
        observation, reward, _, _, info = env.step(np.int64(5 if step % 3 else 4))
        assert observation.tobytes() == observer.observe(cluster.snapshot()).tobytes()
        assert observation in env.observation_space
        assert reward == float(env.task.reward.of(intervals[-1]))
        assert info["cost_usd"] == intervals[-1].cost_usd[0]
        assert info["violations"] == intervals[-1].requests.late[0, 0]
        assert info["offered"] == intervals[-1].offered[0]
    assert {float(interval.duration_seconds) for interval in intervals} == {15.0}
    assert sum(int(interval.requests.late[0, 0]) for interval in intervals) > 0
    assert observation[12] == 0


def test_the_start_can_be_fixed_and_is_told() -> None:
    env = AutoscaleEnv(trace=overload())
    starts = {env.reset(seed=seed)[1]["start_seconds"] for seed in range(12)}
    assert len(starts) > 6
    assert all(start % 60 == 0 and 0 <= start <= 3600 for start in starts)
    offered = {}
    for start in (0, 3600):
        assert env.reset(seed=1, options={"start_seconds": start})[1]["start_seconds"] == start
        offered[start] = env.step(np.int64(4))[4]["offered"]
    assert offered[3600] > 3 * offered[0] > 0
    for start in (3601, -60):
        with pytest.raises(InputError, match="is not within the trace"):
            env.reset(seed=1, options={"start_seconds": start})


def test_a_trace_as_long_as_an_episode_is_enough() -> None:
    env = AutoscaleEnv(trace=Trace(np.full(12, 300.0 * 50), 300.0, start_seconds=7200.0))
    assert env.reset(seed=1)[1]["start_seconds"] == 0
    assert env.step(np.int64(4))[4]["offered"] > 0


def test_a_task_of_three_services_has_an_action_for_each() -> None:
    env = AutoscaleEnv("shop3")
    check_env(env, skip_render_check=True)
    observation, info = env.reset(seed=3)
    assert env.action_space == gymnasium.spaces.MultiDiscrete([10, 10, 10])
    assert observation.shape == (3 * 14,)
    assert info["action_mask"].shape == (3, 10)
    hold = env.task.actions.hold
    for _ in range(3):
        env.step(np.full(3, hold))
    before = env._snapshot.wanted
    up = env.task.actions.changes.index(1.0)
    *_, info = env.step(np.array([hold, up, hold]))
    assert env._snapshot.wanted.tolist() == [before[0], 2 * before[1], before[2]]
    assert info["replicas"] == int(before.sum() + before[1])
    with pytest.raises(InputError, match="must be a whole number, 0 to 9 for each of 3 services"):
        env.step(np.array([hold, 10, hold]))
    with pytest.raises(InputError, match="must be a whole number"):
        env.step(np.array([1.0, 2.0, 3.0]))
