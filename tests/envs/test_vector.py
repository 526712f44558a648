"""The vector environment on the batch engine: Gymnasium's rules, and every cluster a function of its own seed."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from refused import WHY, refused_task

from envs.autoscale import AutoscaleEnv
from envs.task import Task, load_task
from envs.vector import AutoscaleVectorEnv
from simulator.errors import InputError
from simulator.randomization import Randomization
from simulator.trace import Trace

TASK = load_task("web").model_copy(update={"horizon_seconds": 600.0})
STEPS = 40


STORM = load_task("retry-storm").model_copy(update={"horizon_seconds": 600.0})


def made(
    count: int, mode: AutoresetMode = AutoresetMode.NEXT_STEP, task: Task = TASK, **more: Any
) -> AutoscaleVectorEnv:
    return AutoscaleVectorEnv(count, task=task, autoreset_mode=mode, **more)


def test_gymnasium_picks_it() -> None:
    env = gymnasium.make_vec("setpoint/Web-v1", num_envs=3)
    assert isinstance(env, AutoscaleVectorEnv)
    single = AutoscaleEnv()
    assert env.single_observation_space == single.observation_space
    assert env.single_action_space == single.action_space
    observations, _ = env.reset(seed=1)
    assert env.observation_space.contains(observations)


@pytest.mark.parametrize("task", [TASK, STORM], ids=lambda task: task.name)
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_cluster_is_a_function_of_its_own_seed(mode: AutoresetMode, task: Task) -> None:
    """Bit by bit the same alone and among 600 on two threads, over the end of its episode."""
    many, picked = made(600, mode, task), (0, 7, 299, 300, 599)
    ones = [made(1, mode, task) for _ in picked]
    services = len(task.interface.services)
    observations, _ = many.reset(seed=100)
    firsts = [one.reset(seed=100 + place)[0][0] for one, place in zip(ones, picked, strict=True)]
    np.testing.assert_array_equal(observations[list(picked)], firsts)
    rng = np.random.default_rng(3)
    for _ in range(3 * STEPS + 5):
        actions = rng.integers(0, task.actions.count, (600, services))
        observations, rewards, _, truncated, infos = many.step(actions)
        for one, place in zip(ones, picked, strict=True):
            seen, reward, _, ended, info = one.step(actions[[place]])
            assert seen[0].tobytes() == observations[place].tobytes()
            assert (reward[0], ended[0]) == (rewards[place], truncated[place])
            assert info["offered"][0] == infos["offered"][place]


def test_the_next_step_after_an_end_begins_another_episode() -> None:
    env = made(2)
    env.reset(seed=0)
    hold = np.full(2, TASK.actions.hold)
    ends = [env.step(hold)[3].all() for _ in range(STEPS)]
    assert ends == [False] * (STEPS - 1) + [True]
    _, rewards, _, truncated, infos = env.step(hold)
    assert rewards.tolist() == [0, 0]
    assert not truncated.any()
    assert infos["offered"].tolist() == [0, 0]
    assert env.step(hold)[1].max() < 0


def test_the_same_step_returns_the_next_episode_and_keeps_the_last_observation() -> None:
    same, later = made(2, AutoresetMode.SAME_STEP), made(2)
    for env in (same, later):
        env.reset(seed=0)
    hold = np.full(2, TASK.actions.hold)
    for _ in range(STEPS):
        observations, _, _, truncated, infos = same.step(hold)
        last = later.step(hold)[0]
    np.testing.assert_array_equal(np.stack(infos["final_obs"]), last)
    assert infos["_final_obs"].all()
    assert infos["_final_info"].all()
    assert infos["final_info"]["_offered"].all()
    for name in ("cost_usd", "violations", "offered", "replicas"):
        np.testing.assert_array_equal(infos["final_info"][name], infos[name])
    assert truncated.all()
    np.testing.assert_array_equal(observations, later.step(hold)[0])


def test_disabled_autoreset_wants_a_reset() -> None:
    env = made(2, AutoresetMode.DISABLED)
    env.reset(seed=0)
    hold = np.full(2, TASK.actions.hold)
    for _ in range(STEPS):
        env.step(hold)
    with pytest.raises(InputError, match="the episode of cluster 0 is over"):
        env.step(hold)
    env.reset(options={"reset_mask": np.array([True, True])})
    env.step(hold)


def test_what_is_wrong_is_refused() -> None:
    env = made(2)
    with pytest.raises(InputError, match="seed has 3 numbers; must have 2"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(InputError, match="no episode has begun; call reset"):
        env.step(np.zeros(2))
    with pytest.raises(InputError, match="some clusters cannot be reset before all have been"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset(seed=np.int64(0))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="actions are -1 to 0"):
        env.step(np.array([-1, 0]))
    with pytest.raises(InputError, match=r"actions are int64 \(3,\); must be whole numbers \(2,\)"):
        env.step(np.array([0, 1, 2]))
    with pytest.raises(InputError, match=r"actions are float64 \(2,\); must be whole numbers"):
        env.step(np.zeros(2))
    for seed in (1.5, -1, [1.5, 2.5], [1, None], "ab"):
        with pytest.raises(
            InputError, match=r"seed is .*; must be a whole number of 0 or more, or one a cluster"
        ):
            env.reset(seed=seed)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="an episode needs 600 s"):
        made(1, trace=Trace(np.ones(5), 60.0, name="short"))
    with pytest.raises(InputError, match=WHY):
        AutoscaleVectorEnv(1, task=refused_task())


def test_clusters_differ_as_they_are_told() -> None:
    env = made(500)
    env.reset(seed=0)
    world, base = env.clusters.world, TASK.scenario.service
    assert base is not None
    means = world.mean_seconds[:, 0] / base.service_time.mean_seconds  # type: ignore[union-attr]
    assert 0.5 <= means.min() < 0.6
    assert 1.8 < means.max() <= 2.0
    plain = made(50, randomization=Randomization.none())
    plain.reset(seed=0)
    assert np.ptp(plain.clusters.world.mean_seconds) == np.ptp(plain.clusters.world.slo_seconds) == 0
    assert np.unique(plain.clusters.world.load_begin_seconds).size > 10


def test_rewards_are_the_money_in_units_of_a_packed_service() -> None:
    """One cluster as the task says, on a steady load it can serve: the reward is its pods over those it needs."""
    steady = Trace(np.full(120, 60 * 200.0), 60.0, name="steady")
    env = made(20, trace=steady, randomization=Randomization.none())
    env.reset(seed=0)
    rewards = [env.step(np.full(20, TASK.actions.hold)) for _ in range(STEPS)][-1]
    replicas, late = rewards[4]["replicas"], rewards[4]["violations"]
    usd = replicas * 0.04 / 3600 * TASK.period_seconds
    unit = 200 * 0.05 / 4 * 0.04 / 3600 * TASK.period_seconds
    np.testing.assert_allclose(rewards[4]["cost_usd"], usd)
    np.testing.assert_allclose(rewards[1], -(usd + TASK.objective.usd_per_violation * late) / unit)


def test_what_a_step_returned_stays_as_it_was() -> None:
    env = made(3)
    kept = [env.reset(seed=0)[0]]
    hold = np.full(3, TASK.actions.hold)
    for _ in range(5):
        observations, rewards, _, truncated, infos = env.step(hold)
        kept += [
            observations,
            rewards,
            truncated,
            *(infos[name] for name in ("cost_usd", "violations", "offered")),
        ]
    copies = [values.copy() for values in kept]
    env.step(np.full(3, TASK.actions.count - 1))
    env.reset(seed=1)
    for values, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(values, copy)


def test_masks_are_those_of_single_environments() -> None:
    env = made(4)
    env.reset(seed=0)
    masks = env.action_masks()
    assert masks.shape == (4, TASK.actions.count)
    assert masks[:, TASK.actions.hold].all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs is 0; must be a whole number of at least 1"),
        ({"num_envs": "4"}, "num_envs is '4'; must be a whole number"),
        ({"num_envs": True}, "num_envs is True; must be a whole number"),
        (
            {"randomization": {"load": [1, 1]}},
            "randomization is {.*; must be a simulator.randomization.Randomization",
        ),
        (
            {"autoreset_mode": "never"},
            "autoreset_mode is 'never'; must be one of NextStep, SameStep, Disabled",
        ),
    ],
)
def test_arguments_that_make_no_environment_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gymnasium.make_vec("setpoint/Web-v1", **({"num_envs": 2} | arguments))
