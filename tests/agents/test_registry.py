"""The registry: from a spec to a policy, and one contract for everything it makes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fakes import FakePlant

from agents.policy import Context, Policy
from agents.registry import RULES, is_bundle, make, parse_spec
from envs.task import load_task
from simulator.errors import InputError
from simulator.plant import Desired, Metric, Snapshot
from simulator.pod_groups import PodGroup, PodGroups

TINY = str(Path(__file__).parent.parent / "data" / "tiny.bundle")
CONTEXT = Context(("web",), np.array([2]), np.array([200]), np.array([80.0]), load_task("web").interface)
SPECS = {
    "fixed": "fixed:replicas=7",
    "hpa": "hpa:target=0.5,window=60",
    "target_tracking": "target_tracking:target=0.5,low_datapoints=4",
    "step_scaling": "step_scaling:high=0.8",
    "vpa": "vpa",
    "schedule": "schedule:lines=['*/2 * * * * = 5', '1-59/2 * * * * = 9', '*/3 * * * * = 6', '*/5 * * * * = 20']",
    "pid": "pid:kp=0.3",
    "staffing": "staffing:slots=4,slo=0.3",
    "keda": "keda:target=60,window=60",
    "predictive_hpa": "predictive_hpa:target=0.5,window=60,start_up=45",
    "mpc": "mpc:slots=4,slo=0.3,start_up=45",
    "bundle": TINY,
}
BLIND = {"fixed": 7, "schedule": 20}
"""What those ask for at the start that read no metric."""
NAMES = [*RULES, "bundle"]
RULE_NAMES = ", ".join(sorted(RULES))


def made(name: str) -> Policy:
    return make(SPECS[name], CONTEXT)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hpx", f"policy 'hpx' is unknown; there are: {RULE_NAMES}, and any bundle by its path (*.bundle)"),
        ("", f"policy '' is unknown; there are: {RULE_NAMES}, and any bundle by its path (*.bundle)"),
        (
            "HPA:target=0.5",
            f"policy 'HPA' is unknown; there are: {RULE_NAMES}, and any bundle by its path (*.bundle)",
        ),
        ("fixed", "policy fixed: setting 'replicas' is needed"),
        (
            "fixed:replica=3,replicas=3",
            (
                "policy fixed:replica=3,replicas=3: setting 'replica' is unknown; there are: replicas, vcpu, "
                "memory_gib, nodes, period"
            ),
        ),
        (
            "fixed:replicas=many",
            (
                "policy fixed:replicas=many: replicas is 'many': "
                "Input should be a valid integer, unable to parse string as an integer"
            ),
        ),
        (
            "fixed:replicas=-1",
            "policy fixed:replicas=-1: replicas is -1: Input should be greater than or equal to 0",
        ),
        (
            "fixed:replicas",
            "policy 'fixed:replicas': 'replicas' must be one setting as key=value, each key once",
        ),
        ("fixed:=3", "policy 'fixed:=3': '=3' must be one setting as key=value, each key once"),
        (
            "fixed:replicas=",
            "policy 'fixed:replicas=': 'replicas=' must be one setting as key=value, each key once",
        ),
        (
            "fixed:replicas=1,replicas=2",
            "policy 'fixed:replicas=1,replicas=2': 'replicas=2' must be one setting as key=value, each key once",
        ),
        (
            "fixed:replicas=[",
            "policy 'fixed:replicas=[': the value of 'replicas=[' cannot be read; quote it as in YAML",
        ),
        (
            "hpa:target=0.555",
            "policy hpa:target=0.555: target is 0.555: only a whole percent, such as 0.6, is allowed",
        ),
        ("hpa:target=0", "policy hpa:target=0: target is 0: Input should be greater than or equal to 0.01"),
        (
            "hpa:target=2024-13-45",
            "policy 'hpa:target=2024-13-45': the value of 'target=2024-13-45' cannot be read; quote it as in YAML",
        ),
        (
            "hpa:period=0.5",
            "policy hpa:period=0.5: period is 0.5: Input should be greater than or equal to 1",
        ),
        (
            "fixed:replicas=100000000000000000000",
            (
                "policy fixed:replicas=100000000000000000000: replicas is 100000000000000000000: "
                "Input should be less than or equal to 100000"
            ),
        ),
        (
            "hpa:metrics=[{type: pods, name: rate, value: 3}]",
            (
                "policy hpa:metrics=[{type: pods, name: rate, value: 3}]: metrics.0 is {'type': 'pods', 'name': 'rate',"
                " 'value': 3}: value of rate: a metric of type pods needs exactly one of average_value"
            ),
        ),
        (
            "hpa:target=0.5,metrics=[{type: object, name: 'a,b', value: 3}]",
            (
                "policy hpa:target=0.5,metrics=[{type: object, name: 'a,b', value: 3}]: "
                "target is 0.5: only one of target and metrics is allowed, since target is that of cpu"
            ),
        ),
        (
            "hpa:scale_up=fast",
            "policy hpa:scale_up=fast: scale_up is 'fast': Input should be 'default' or 'gentle'",
        ),
        (
            "hpa:scale_up=gentle,behavior=none",
            (
                "policy hpa:scale_up=gentle,behavior=none: "
                "scale_up is 'gentle': only one of scale_up and behavior is allowed"
            ),
        ),
        ("nowhere.bundle", "nowhere.bundle: no such file"),
        ("no/where", "no/where: no such file"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong_and_what_is_allowed(
    spec: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        make(spec, CONTEXT)
    assert str(caught.value) == message


def test_several_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(
        InputError, match=r"policy hpa:.*: target is 0: .*; setting 'x' is unknown; there are: target"
    ):
        make("hpa:target=0,x=1", CONTEXT)


def test_an_unknown_field_of_a_setting_is_not_held_against_the_settings() -> None:
    with pytest.raises(
        InputError, match=r"'metrics.0.name' is needed; setting 'metrics.0.target' is unknown$"
    ):
        make("hpa:metrics=[{type: Pods, target: 0.6}]", CONTEXT)


def test_commas_in_brackets_and_quotes_part_no_settings() -> None:
    spec = parse_spec("x:a=[1, 2],b={c: 'd,e]', f: [3,4]},g=\"h,i\",j=5")
    assert spec.settings == {"a": [1, 2], "b": {"c": "d,e]", "f": [3, 4]}, "g": "h,i", "j": 5}


METRICS = (
    "hpa:metrics=[{type: resource, name: cpu, utilization: 0.6}, {type: external, name: rate, average_value: 30}],"
    "window=60"
)


@pytest.mark.parametrize("spec", ["fixed:replicas=7", "hpa", "hpa:target=0.5,scale_up=gentle", METRICS])
def test_a_spec_reads_as_it_was_written(spec: str) -> None:
    assert str(parse_spec(spec)) == spec


def test_what_is_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("hpa", "mine"):
        Path(name).touch()
    assert [is_bundle(spec) for spec in ("a.bundle", "a/b", "mine")] == [True] * 3
    assert not any(is_bundle(spec) for spec in ("fixed:replicas=3", "other", "hpa", "hpa:target=0.5"))


def test_every_rule_says_what_it_is() -> None:
    assert set(SPECS) == {*RULES, "bundle"}, "a new rule needs a spec here, so that the contracts hold for it"
    for entry in RULES.values():
        assert entry.summary
        assert all(field.description for field in entry.settings.model_fields.values())


def story(seed: int, ticks: int = 25) -> list[Snapshot]:
    """What a Plant shows whose load and replicas change."""
    rng, plant, found = np.random.default_rng(seed), FakePlant(), []
    for tick in range(ticks):
        plant.cpu, plant.rate, plant.now = (
            float(rng.uniform(0, 1.3)),
            float(rng.uniform(0, 2000)),
            15.0 * tick,
        )
        plant.apply(Desired(np.array([int(rng.integers(2, 60))])))
        found.append(plant.snapshot())
    return found


def told(policy: Policy, snapshots: list[Snapshot]) -> list[tuple[list[int], str]]:
    decisions = [policy.decide(snapshot) for snapshot in snapshots]
    return [(decision.replicas.tolist(), decision.reason) for decision in decisions]


@pytest.mark.parametrize("name", NAMES)
class TestContract:
    def test_shape_type_reason_and_period(self, name: str) -> None:
        policy = made(name)
        assert policy.period_seconds > 0
        for snapshot in story(1):
            desired = policy.decide(snapshot)
            assert desired.replicas.shape == (1,)
            assert desired.replicas.dtype == np.int64
            assert desired.reason
            assert "\n" not in desired.reason

    def test_it_holds_on_missing_metrics(self, name: str) -> None:
        policy = made(name)
        told(policy, story(2))
        for replicas in (2, 4, 9):
            snapshot = FakePlant(replicas=replicas, cpu=np.nan, rate=np.nan).snapshot()
            assert policy.decide(snapshot).replicas.tolist() == [BLIND.get(name, replicas)]

    def test_it_is_deterministic_and_reset_forgets(self, name: str) -> None:
        policy, again = made(name), made(name)
        first = told(policy, story(3))
        assert told(again, story(3)) == first
        policy.reset()
        assert told(policy, story(3)) == first
        if name != "fixed":
            assert len({replicas for (replicas,), _ in first}) > 3, "the story makes it decide"

    def test_it_leaves_the_snapshot_alone(self, name: str) -> None:
        policy, snapshots = made(name), story(4)
        before = [repr(snapshot) for snapshot in snapshots]
        replicas = [policy.decide(snapshot).replicas for snapshot in snapshots]
        kept = [array.copy() for array in replicas]
        told(policy, story(5))
        assert [repr(snapshot) for snapshot in snapshots] == before
        assert all(np.array_equal(array, copy) for array, copy in zip(replicas, kept, strict=True))

    def test_many_clusters_are_as_many_alone(self, name: str) -> None:
        together, alone = made(name), [made(name) for _ in range(4)]
        mask = np.array([False, True, False, True])
        for tick, snapshots in enumerate(zip(*(story(10 + index) for index in range(4)), strict=True)):
            if tick == 12:
                together.reset(mask)
                alone[1].reset()
                alone[3].reset()
            each = [int(one.decide(seen).replicas[0]) for one, seen in zip(alone, snapshots, strict=True)]
            desired = together.decide(stacked(list(snapshots)))
            assert desired.replicas.shape == (4, 1)
            assert desired.replicas.dtype == np.int64
            assert desired.replicas[:, 0].tolist() == each


def stacked(snapshots: list[Snapshot]) -> Snapshot:
    def metric(name: str) -> Metric:
        metrics = [getattr(one, name) for one in snapshots]
        return Metric(
            *(np.stack([getattr(one, part) for one in metrics]) for part in ("value", "age_seconds"))
        )

    def group(name: str) -> PodGroup:
        groups = [getattr(one.pods["cpu"], name) for one in snapshots]
        counts = ("count", "samples", "usage_milli", "request_milli")
        return dataclasses.replace(
            groups[0], **{count: np.stack([getattr(one, count) for one in groups]) for count in counts}
        )

    counts = ("time_seconds", "wanted", "starting", "ready", "draining")
    ages = np.stack([one.pods["cpu"].age_seconds for one in snapshots])
    kinds = [group(name) for name in ("counted", "unready", "missing", "ignored")]
    return Snapshot(
        *(np.stack([getattr(one, name) for one in snapshots]) for name in counts),
        *(metric(name) for name in ("cpu", "rate", "latency_p95", "queue")),
        pods={"cpu": PodGroups(*kinds, age_seconds=ages)},
    )
