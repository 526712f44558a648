"""Training, Bundles, the registry's contracts and the loop without skew."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakePlant

from agents.bundle import Bundle, LearnedPolicy, load_bundle, make_learned
from agents.learn.export import export_actor
from agents.learn.ppo import PpoSettings, make_ppo
from agents.learn.training import Plan, Progress, train
from agents.learn.vec_env import make_vec_env
from agents.policy import Policy
from agents.registry import RULES, make
from agents.runner import run
from controllers.clock import VirtualClock
from controllers.loop import Loop, Record
from envs.autoscale import AutoscaleEnv
from envs.task import load_task
from experiments.run import make_context
from simulator.cluster import Cluster
from simulator.errors import InputError
from simulator.plant import Desired, Metric, PodGroup, PodGroups, Snapshot
from simulator.trace import Trace

TASK = load_task("web")
TINY = PpoSettings(environments=2, rollout_steps=32, batch_size=32, epochs=2, hidden=(8,), hold_bias=0.0)
WAVES = Trace(np.round(60 * (120 + 100 * np.sin(np.arange(60) / 5))), 60.0, name="waves")
SPECS = {"fixed": "fixed:replicas=7", "hpa": "hpa:target=0.5,window=60"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "tiny.bundle"
    train(Plan(TASK, WAVES, 64, seed=1, settings=TINY, processes=False), path, lambda _: None)
    return path


def spec_of(name: str, trained: Path) -> str:
    return str(trained) if name == "bundle" else SPECS[name]


def made(name: str, trained: Path) -> Policy:
    return make(spec_of(name, trained), make_context(TASK, None, 0))


NAMES = [*RULES, "bundle"]


def test_every_rule_is_in_the_contracts() -> None:
    assert set(SPECS) == set(RULES)


@pytest.mark.parametrize("name", NAMES)
def test_policies_hold_on_missing_metrics_and_leave_the_snapshot_alone(name: str, trained: Path) -> None:
    policy = made(name, trained)
    snapshot = FakePlant(cpu=np.nan, rate=np.nan).snapshot()
    before = repr(snapshot)
    replicas = policy.decide(snapshot).replicas
    assert replicas.dtype == np.int64
    assert replicas.shape == (1,)
    assert replicas[0] == (7 if name == "fixed" else 4)
    assert repr(snapshot) == before
    assert policy.period_seconds > 0


@pytest.mark.parametrize("name", NAMES)
def test_many_clusters_at_once_are_as_many_alone(name: str, trained: Path) -> None:
    together, alone = made(name, trained), [made(name, trained) for _ in range(3)]
    plants = [FakePlant(replicas=6), FakePlant(replicas=20), FakePlant(replicas=3)]
    rng = np.random.default_rng(0)
    for tick in range(30):
        for plant in plants:
            plant.cpu, plant.rate, plant.now = (
                float(rng.uniform(0, 1.2)),
                float(rng.uniform(0, 2000)),
                15.0 * tick,
            )
        if tick == 15:
            together.reset(np.array([False, True, False]))
            alone[1].reset()
        snapshots = [plant.snapshot() for plant in plants]
        each = [int(one.decide(seen).replicas[0]) for one, seen in zip(alone, snapshots, strict=True)]
        assert together.decide(stack(snapshots)).replicas[:, 0].tolist() == each
        for plant, replicas in zip(plants, each, strict=True):
            plant.apply(Desired(np.array([min(max(replicas, 2), 200)])))


def stack(snapshots: list[Snapshot]) -> Snapshot:
    def metric(name: str) -> Metric:
        metrics = [getattr(one, name) for one in snapshots]
        return Metric(
            np.stack([one.value for one in metrics]), np.stack([one.age_seconds for one in metrics])
        )

    def group(name: str) -> PodGroup:
        groups = [getattr(one.pods["cpu"], name) for one in snapshots]
        fields = ("count", "samples", "usage_milli", "request_milli")
        return PodGroup(**{field: np.stack([getattr(one, field) for one in groups]) for field in fields})

    counts = ("time_seconds", "wanted", "starting", "ready", "draining")
    return Snapshot(
        **{name: np.stack([getattr(one, name) for one in snapshots]) for name in counts},
        **{name: metric(name) for name in ("cpu", "rate", "latency_p95", "queue")},
        pods={
            "cpu": PodGroups(
                *(group(name) for name in ("counted", "unready", "missing", "ignored")),
                age_seconds=np.stack([one.pods["cpu"].age_seconds for one in snapshots]),
            )
        },
    )


@pytest.mark.parametrize("name", NAMES)
def test_no_skew_between_the_real_loop_and_the_runner(name: str, trained: Path) -> None:
    records: list[Record] = []
    plant = cluster()
    clock = VirtualClock(plant, WAVES.duration_seconds)
    Loop(plant, made(name, trained), TASK.interface.new_guard(), clock, records.append).run()
    other = cluster()
    steps = run(other, made(name, trained), TASK.interface.new_guard(), other.advance, WAVES.duration_seconds)
    decisions = [decision for decision, _ in steps]
    assert len(decisions) == len(records) == 240
    for record, decision in zip(records, decisions, strict=True):
        assert record.decision is not None
        assert repr(record.decision.snapshot) == repr(decision.snapshot)
        assert (record.decision.allowed.replicas == decision.allowed.replicas).all()
    assert name == "fixed" or sum(decision.changes for decision in decisions) > 5


def test_no_skew_between_the_environment_and_the_real_loop(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(trained)
    env = AutoscaleEnv(TASK, WAVES)
    built: list[Cluster] = []

    def build(self: object, seed: int, trace: Trace) -> Cluster:
        built.append(TASK.scenario.build(seed, (TASK.objective.slo_seconds,), trace))
        seeds.append(seed)
        return built[-1]

    seeds: list[int] = []
    monkeypatch.setattr(type(TASK), "build", build)
    observation, _ = env.reset(seed=11, options={"start_seconds": 0})
    actor = LearnedPolicy(bundle)
    observed, asked = [], []
    for _ in range(240):
        observed.append(observation)
        action = actor.logits(observation)[0].argmax()
        if observation[12]:
            action = TASK.actions.hold
        observation, *_, info = env.step(np.int64(action))
        asked.append(info["replicas"])
    plant = TASK.scenario.build(seeds[0], (TASK.objective.slo_seconds,), WAVES.slice(0.0, 3600.0))
    records: list[Record] = []
    seen_by_loop: list[np.ndarray] = []
    policy = LearnedPolicy(bundle)
    observe = policy._observer.observe
    policy._observer.observe = lambda snapshot: (seen_by_loop.append(observe(snapshot)), seen_by_loop[-1])[1]  # type: ignore[method-assign, func-returns-value]
    Loop(plant, policy, TASK.interface.new_guard(), VirtualClock(plant, 3600.0), records.append).run()
    assert [vector.tobytes() for vector in seen_by_loop] == [vector.tobytes() for vector in observed]
    allowed = [int(record.decision.allowed.replicas[0]) for record in records if record.decision]
    assert allowed == asked


def cluster() -> Cluster:
    return TASK.build(3, WAVES)


def test_the_loaded_bundle_decides_as_the_original_did(tmp_path: Path) -> None:
    env = make_vec_env(TASK, WAVES, 2, processes=False)
    model = make_ppo(env, TINY, TASK.actions.hold, 0)
    model.learn(128)
    bundle = Bundle.of(export_actor(model.policy), TASK.interface, {"agent": "ppo"})
    bundle.save(tmp_path / "one.bundle")
    loaded = LearnedPolicy(load_bundle(tmp_path / "one.bundle"))
    observations = np.random.default_rng(0).normal(size=(500, 14)).astype(np.float32)
    with torch.no_grad():
        latent = model.policy.mlp_extractor.forward_actor(torch.as_tensor(observations))
        original = model.policy.action_net(latent).numpy()
    exported = loaded.logits(observations)[:, 0]
    assert np.abs(original - exported).max() < 1e-5
    deterministic, _ = model.predict(observations, deterministic=True)
    assert (deterministic == exported.argmax(axis=-1)).mean() > 0.998
    bundle.save(tmp_path / "two.bundle")
    assert (tmp_path / "one.bundle").read_bytes() == (tmp_path / "two.bundle").read_bytes()


def test_training_is_a_function_of_its_seed_and_its_bundle_tells_where_it_comes_from(trained: Path) -> None:
    again = trained.with_name("again.bundle")
    train(Plan(TASK, WAVES, 64, seed=1, settings=TINY, processes=False), again, lambda _: None)
    other = trained.with_name("other.bundle")
    train(Plan(TASK, WAVES, 64, seed=2, settings=TINY, processes=False), other, lambda _: None)
    first = load_bundle(trained)
    assert load_bundle(again).actor_digest == first.actor_digest
    assert load_bundle(other).actor_digest != first.actor_digest
    assert first.provenance["steps"] == 64
    assert {"agent", "task", "seed", "trace", "settings", "versions"} <= set(first.provenance)


def test_interrupted_training_leaves_a_loadable_bundle(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.steps >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Plan(TASK, WAVES, 10_000, 1, TINY, processes=False), tmp_path / "cut.bundle", interrupt)
    assert load_bundle(tmp_path / "cut.bundle").provenance["steps"] == 128


@pytest.mark.parametrize("damage", ["half", "flip", "empty", "text"])
def test_a_damaged_bundle_is_refused(damage: str, trained: Path, tmp_path: Path) -> None:
    content = bytearray(trained.read_bytes())
    if damage == "flip":
        content[len(content) // 3] ^= 1
    broken = {"half": content[: len(content) // 2], "flip": content, "empty": b"", "text": b"hello"}[damage]
    (tmp_path / "bad.bundle").write_bytes(bytes(broken))
    with pytest.raises(InputError, match=r"bad\.bundle") as caught:
        make_learned(tmp_path / "bad.bundle", make_context(TASK, None, 0))
    assert "\n" not in str(caught.value)


def test_a_failing_disk_leaves_the_old_bundle(
    trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "kept.bundle"
    bundle = load_bundle(trained)
    bundle.save(path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zipfile.ZipFile.writestr", fail)
    with pytest.raises(OSError, match="No space left"):
        dataclasses.replace(bundle, provenance={}).save(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["kept.bundle"]


def test_a_bundle_may_be_tightened_and_nothing_else(trained: Path) -> None:
    interface = TASK.interface.tightened(np.array([3]), np.array([9]))
    context = dataclasses.replace(make_context(TASK, None, 0), interface=interface)
    make_learned(trained, context)
    wrong = dataclasses.replace(context, interface=interface.model_copy(update={"period_seconds": 60.0}))
    with pytest.raises(InputError, match=r"period_seconds is 15\.0 there and 60\.0 here"):
        make_learned(trained, wrong)


def test_records_are_json_without_nan() -> None:
    plant = FakePlant(cpu=np.nan)
    loop = Loop(
        plant,
        make("hpa", make_context(TASK, None, 0)),
        TASK.interface.new_guard(),
        VirtualClock(plant, 1),
        print,
    )  # type: ignore[arg-type]
    record = json.loads(json.dumps(loop.tick().to_json(), allow_nan=False))
    assert record["outcome"] == "unchanged"
    assert record["seen"]["cpu"] == [{"value": None, "age_seconds": None}]
