from __future__ import annotations

import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_sb3_env

from envs.autoscale import AutoscaleEnv
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


def test_the_checkers_pass() -> None:
    check_env(gymnasium.make("setpoint/Web-v1").unwrapped, skip_render_check=True)
    check_sb3_env(AutoscaleEnv())


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
