"""Training: a Bundle that is good after every update, and tells where it comes from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from refused import WHY, refused_task
from stable_baselines3 import PPO

from agents.bundle import LearnedPolicy, load_bundle
from agents.learn import training
from agents.learn.export import export_actor
from agents.learn.ppo import BATCH_DEFAULTS, PpoSettings, make_ppo
from agents.learn.training import BATCH, REQUEST, Plan, Progress, check_batch, find_checkpoint, train
from agents.learn.vec_env import WORST_STEP_REWARD, BoundedReward, ExploringStarts, make_vec_env
from envs.autoscale import AutoscaleEnv
from envs.observer import FEATURES
from envs.task import load_task
from simulator.errors import InputError
from simulator.trace import Trace

TASK = load_task("web")
WAVES = Trace(
    60 * (200 + 150 * np.sin(np.arange(90) / 6)),
    60.0,
    start_seconds=120.0,
    name="waves.csv",
    sha256="ab" * 32,
)
TINY = PpoSettings(environments=2, rollout_steps=16, batch_size=16, epochs=2, hidden=(8,))


ENGINES = pytest.mark.parametrize("engine", [BATCH, REQUEST])


def plan_of(
    steps: int = 64, seed: int = 3, trace: Trace | None = WAVES, engine: str = REQUEST, **settings: Any
) -> Plan:
    return Plan(TASK, trace, steps, seed, TINY.model_copy(update=settings), engine, processes=False)


def test_the_bundle_is_written_after_every_update(tmp_path: Path) -> None:
    out, written = tmp_path / "new" / "agent.bundle", []

    def report(progress: Progress) -> None:
        bundle = load_bundle(out)
        written.append((progress.steps, bundle.provenance["steps"], bundle.actor_digest))

    last = train(plan_of(96), out, report)
    assert [(steps, saved) for steps, saved, _ in written] == [(32, 32), (64, 64), (96, 96)]
    assert len({digest for *_, digest in written}) == 3, "every update changed the actor"
    assert load_bundle(out) == last
    assert [path.name for path in out.parent.iterdir()] == ["agent.bundle"]


def test_the_provenance_is_whole(tmp_path: Path) -> None:
    last = train(plan_of(), tmp_path / "agent.bundle", lambda progress: None)
    versions = last.provenance["versions"]
    assert versions["torch"] == torch.__version__
    assert dict(last.provenance) == {
        "agent": "ppo",
        "engine": "request",
        "task": "web",
        "steps": 64,
        "resumed": [],
        "seed": 3,
        "trace": "waves.csv",
        "trace_sha256": "ab" * 32,
        "trace_start_seconds": 120.0,
        "trace_duration_seconds": 5400.0,
        "settings": TINY.model_dump(mode="json"),
        "versions": versions,
    }
    assert set(versions) == {"setpoint", "torch", "stable-baselines3"}
    assert last.interface == TASK.interface
    json.dumps(dict(last.provenance), allow_nan=False)


def test_training_on_the_model_says_so_and_rounds_up_to_whole_rollouts(tmp_path: Path) -> None:
    last = train(plan_of(steps=33, trace=None), tmp_path / "agent.bundle", lambda progress: None)
    assert last.provenance["trace"] == "model nasa"
    assert last.provenance["trace_sha256"] == ""
    assert last.provenance["steps"] == 64


@ENGINES
def test_the_seed_decides_all(engine: str, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "again", "other")]
    for file, seed in zip(files, (3, 3, 4), strict=True):
        train(plan_of(seed=seed, engine=engine), file, lambda progress: None)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert load_bundle(files[0]).actor_digest != load_bundle(files[2]).actor_digest


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_whatever_stops_the_report_leaves_a_loadable_bundle(
    error: type[BaseException], tmp_path: Path
) -> None:
    """Even where it stops the first one."""

    def stop(progress: Progress) -> None:
        raise error

    with pytest.raises(error):
        train(plan_of(10_000), tmp_path / "cut.bundle", stop)
    bundle = load_bundle(tmp_path / "cut.bundle")
    assert bundle.provenance["steps"] == 32
    assert LearnedPolicy(bundle).logits(np.zeros(14, dtype=np.float32)).shape == (1, 10)


class Stopped(Exception):  # noqa: N818 - no error
    """Stands for a kill after an update."""


def stop_at(steps: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.steps == steps:
            raise Stopped

    return report


@ENGINES
def test_a_stopped_training_goes_on_to_the_same_number_of_steps(engine: str, tmp_path: Path) -> None:
    whole, cut, plan = tmp_path / "whole.bundle", tmp_path / "cut.bundle", plan_of(128, engine=engine)
    train(plan, whole, lambda progress: None)
    assert find_checkpoint(plan, cut) is None
    reported: list[int] = []
    for at in (32, 96):
        with pytest.raises(Stopped):
            train(plan, cut, stop_at(at), find_checkpoint(plan, cut))
        assert load_bundle(cut).provenance["steps"] == at
    assert [path.name for path in tmp_path.iterdir() if "cut" in path.name] == [
        "cut.bundle",
        "cut.bundle.checkpoint",
    ]
    last = train(plan, cut, lambda progress: reported.append(progress.steps), find_checkpoint(plan, cut))
    assert reported == [128]
    one_go = load_bundle(whole).provenance
    assert (one_go["resumed"], last.provenance["resumed"]) == ([], [32, 96])
    assert {**last.provenance, "resumed": []} == one_go
    assert not list(tmp_path.glob("*.checkpoint")), "removed at the end"


def test_a_training_goes_on_with_its_weights_its_optimiser_and_its_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With episodes of its own."""
    models: list[PPO] = []
    monkeypatch.setattr(
        training, "make_ppo", lambda *arguments: models.append(make_ppo(*arguments)) or models[-1]
    )
    out, plan = tmp_path / "cut.bundle", plan_of(128)
    with pytest.raises(Stopped):
        train(plan, out, stop_at(64))
    begun, kept = find_checkpoint(plan, out), load_bundle(out).actor
    assert begun is not None
    second = make_ppo(make_vec_env(TASK, WAVES, 2, processes=False), TINY, TASK.actions.hold, 0)
    begun.restore(second)
    assert export_actor(second.policy) == kept
    steps = {float(entry["step"]) for entry in second.policy.optimizer.state_dict()["state"].values()}
    assert steps == {8.0}, "two updates of two epochs of two batches"
    rates: list[float] = []
    train(
        plan, out, lambda progress: rates.append(progress.losses["learning_rate"]), find_checkpoint(plan, out)
    )
    assert rates == pytest.approx([0.25 * TINY.learning_rate, 0.1 * TINY.learning_rate]), "by what was left"
    assert models[0].seed != models[1].seed, "other episodes"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"steps": 96}, "steps is 128, not 96"),
        ({"seed": 4}, "seed is 3, not 4"),
        ({"trace": None}, "trace is waves.csv, not model nasa"),
        ({"engine": BATCH}, "engine is request, not batch"),
        ({"epochs": 3}, r"settings\.epochs is 2, not 3"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    other: dict[str, Any], message: str, tmp_path: Path
) -> None:
    out = tmp_path / "cut.bundle"
    with pytest.raises(Stopped):
        train(plan_of(128), out, stop_at(32))
    with pytest.raises(
        InputError, match=f"{message}; the command it began with goes on, --fresh begins anew"
    ):
        find_checkpoint(plan_of(**{"steps": 128, **other}), out)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    out, plan = tmp_path / "cut.bundle", plan_of(128)
    with pytest.raises(Stopped):
        train(plan, out, stop_at(32))
    file = tmp_path / "cut.bundle.checkpoint"
    content = file.read_bytes()
    changed = bytearray(content)
    changed[len(content) // 2] ^= 255
    for damaged in (b"", content[:100], content[: len(content) // 2], content[:-10], bytes(changed)):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"not a whole checkpoint \(.+\); --fresh begins anew") as caught:
            find_checkpoint(plan, out)
        assert "\n" not in str(caught.value)
    file.unlink()
    file.mkdir()
    with pytest.raises(OSError, match="directory"):
        find_checkpoint(plan, out)


def test_a_thousand_clusters_are_learned_from_with_what_ships(tmp_path: Path) -> None:
    """The bundle sees and does what one of the request engine does."""
    found: list[Progress] = []
    plan = Plan(TASK, None, 16 * 32_768, 0, BATCH_DEFAULTS, BATCH)
    last = train(plan, tmp_path / "agent.bundle", found.append)
    assert last.interface == TASK.interface
    assert (last.provenance["engine"], last.provenance["steps"]) == ("batch", 16 * 32_768)
    rewards = [progress.reward_per_step for progress in found if progress.reward_per_step < 0]
    assert rewards[-1] > rewards[0] + 5, "learned"
    assert LearnedPolicy(last).logits(np.zeros(14, dtype=np.float32)).shape == (1, 10)


def test_what_the_batch_engine_does_not_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=WHY):
        train(Plan(refused_task(), None, 64, 0, TINY, BATCH), tmp_path / "x.bundle", lambda progress: None)
    logged = replace(WAVES, times_seconds=np.arange(0.0, 5400.0))
    with pytest.raises(InputError, match="does not model: the exact times of a request log"):
        check_batch(TASK, logged)


def test_the_exported_actor_decides_as_the_trained_one_on_recorded_observations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[PPO] = []
    make = training.make_ppo
    monkeypatch.setattr(training, "make_ppo", lambda *arguments: models.append(make(*arguments)) or models[0])
    train(plan_of(128), tmp_path / "agent.bundle", lambda progress: None)
    policy, network = LearnedPolicy(load_bundle(tmp_path / "agent.bundle")), models[0].policy
    env, rng = AutoscaleEnv(TASK, WAVES), np.random.default_rng(0)
    observations = [env.reset(seed=1)[0]]
    observations += [env.step(np.int64(rng.integers(10)))[0] for _ in range(200)]
    batch = np.stack(observations)
    with torch.no_grad():
        original = network.get_distribution(torch.as_tensor(batch)).distribution.logits.numpy()  # type: ignore[union-attr]
    exported = policy.logits(batch)[:, 0]
    exported = exported - np.log(np.exp(exported).sum(axis=-1, keepdims=True))
    assert np.abs(exported - original).max() < 1e-5
    ranked = np.sort(original, axis=-1)
    clear = ranked[:, -1] - ranked[:, -2] > 2e-5
    assert clear.mean() > 0.9
    assert np.array_equal(exported.argmax(axis=-1)[clear], original.argmax(axis=-1)[clear])


def test_progress_counts_in_the_environments_own_units(tmp_path: Path) -> None:
    """The reported reward is the mean per step, -1 for a perfectly packed service."""
    found: list[Progress] = []
    settings = TINY.model_copy(update={"rollout_steps": 240, "batch_size": 240})
    calm = Trace(np.full(60, 60 * 20.0), 60.0, name="calm")
    train(Plan(TASK, calm, 960, 1, settings, processes=False), tmp_path / "agent.bundle", found.append)
    assert [progress.steps for progress in found] == [480, 960]
    assert -60 < found[0].reward_per_step < 0
    assert math.isfinite(found[0].losses["value_loss"])
    found.clear()
    train(plan_of(), tmp_path / "agent.bundle", found.append)
    assert math.isnan(found[0].reward_per_step), "no episode has ended yet"


def test_rewards_are_bounded_and_scaled_and_never_shifted() -> None:
    wrapped = BoundedReward(AutoscaleEnv(TASK, WAVES))
    assert wrapped.reward(0.0) == 0
    assert wrapped.reward(WORST_STEP_REWARD / 2) == -0.5
    assert wrapped.reward(WORST_STEP_REWARD) == wrapped.reward(10 * WORST_STEP_REWARD) == -1


def test_episodes_start_from_overload_and_from_idle_pods_and_never_blind() -> None:
    env = ExploringStarts(AutoscaleEnv(TASK, WAVES))
    starts = [env.reset(seed=seed, options={"start_seconds": 600.0}) for seed in range(40)]
    again = [env.reset(seed=seed, options={"start_seconds": 600.0})[0] for seed in range(40)]
    assert all(np.array_equal(start, other) for (start, _), other in zip(starts, again, strict=True))
    features = {feature.name: index for index, feature in enumerate(FEATURES)}
    loads = [start[features["load"]] for start, _ in starts]
    assert max(loads) > 1.2
    assert min(loads) < 0.5
    assert not any(start[features["metric_missing"]] for start, _ in starts)
    assert all(info["action_mask"].sum() > 1 for _, info in starts)


def test_the_shortest_episodes_keep_three_quarters_to_learn_from() -> None:
    short = TASK.model_copy(update={"horizon_seconds": 60.0})
    env = ExploringStarts(AutoscaleEnv(short, WAVES))
    for seed in range(5):
        env.reset(seed=seed)
        assert [env.step(np.int64(4))[3] for _ in range(3)] == [False, False, True]


def test_processes_step_as_one_process_does() -> None:
    actions = np.random.default_rng(2).integers(10, size=(6, 2))

    def play(*, processes: bool) -> bytes:
        env = make_vec_env(TASK, WAVES, 2, processes=processes)
        try:
            env.seed(5)
            seen = [np.asarray(env.reset()).tobytes()]
            for action in actions:
                observations, rewards, *_ = env.step(action)
                seen.append(np.asarray(observations).tobytes() + rewards.astype(np.float32).tobytes())
        finally:
            env.close()
        return b"".join(seen)

    assert play(processes=True) == play(processes=False)


def test_a_training_that_diverges_keeps_the_last_good_bundle_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "agent.bundle"
    wild = TINY.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(InputError, match="training diverged by step"):
        train(Plan(TASK, WAVES, 640, 1, wild, processes=False), out, lambda progress: None)
    if out.exists():
        assert np.isfinite(LearnedPolicy(load_bundle(out)).logits(np.zeros(14, dtype=np.float32))).all()


def test_a_task_of_several_services_is_refused(tmp_path: Path) -> None:
    plan = Plan(load_task("shop3"), None, steps=1, seed=0, processes=False)
    with pytest.raises(InputError, match=r"task shop3 has 3 services \(web, app, db\)"):
        train(plan, tmp_path / "x.bundle", lambda progress: None)
