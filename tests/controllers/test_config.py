"""The controller's YAML file: every wrong field is named with its path, and nothing starts half-configured."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from agents.bundle import load_bundle
from agents.registry import make
from controllers import controller
from controllers.config import ControlConfig, load_config
from controllers.controller import assemble
from simulator.errors import InputError
from simulator.plant import PlantGone

TINY = Path(__file__).parent.parent / "data" / "tiny.bundle"
CONFIG: dict[str, Any] = {
    "plant": {"namespace": "shop", "deployment": "web", "kubeconfig": "kube.yaml"},
    "prometheus": {"url": "http://127.0.0.1:9", "selector": 'service="web"'},
    "policy": "hpa:target=0.6",
    "min_replicas": 2,
    "max_replicas": 20,
}


def written(tmp_path: Path, *changes: tuple[str, object]) -> Path:
    content = copy.deepcopy(CONFIG)
    for path, value in changes:
        *parents, last = path.split(".")
        place = content
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is None:
            del place[last]
        else:
            place[last] = value
    (tmp_path / "web.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "web.yaml"


def test_a_whole_file_is_read_with_paths_from_its_folder(tmp_path: Path) -> None:
    found = load_config(written(tmp_path, ("policy", "models/ppo.bundle")))
    assert found.plant.kubeconfig == tmp_path / "kube.yaml"
    assert found.policy == str(tmp_path / "models" / "ppo.bundle")
    assert (found.dry_run, found.listen.port, found.guard.frozen) == (False, 9464, False)
    assert load_config(written(tmp_path, ("policy", "/else/ppo.bundle"))).policy == "/else/ppo.bundle"
    assert load_config(written(tmp_path)).policy == "hpa:target=0.6"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("plant", None, "plant: Field required"),
        ("plant.namespace", "Shop!", "plant.namespace: String should match"),
        ("plant.deployment", None, "plant.deployment: Field required"),
        ("plant.timeout_seconds", 0, "plant.timeout_seconds: Input should be greater than 0 (it is 0)"),
        ("plant.colour", "red", "plant.colour: is no field of KubernetesSettings (there are: namespace, "),
        ("prometheus.url", "prom:9090", "prometheus.url: must be an address such as http://prometheus:9090"),
        ("prometheus.window_seconds", "soon", "prometheus.window_seconds: Input should be a valid integer"),
        ("policy", None, "policy: Field required"),
        ("policy", "", "policy: String should have at least 1 character"),
        ("fingerprint", "xyz", "fingerprint: String should match"),
        ("min_replicas", -1, "min_replicas: Input should be greater than or equal to 0 (it is -1)"),
        ("max_replicas", 1, "max_replicas (1) must be at least min_replicas (2)"),
        ("max_replicas", "many", "max_replicas: Input should be a valid integer"),
        ("guard.max_step_up", 0, "guard.max_step_up: Input should be greater than or equal to 1 (it is 0)"),
        (
            "guard.min_replicas",
            3,
            "guard.min_replicas: is no field of GuardOptions (there are: max_step_up, ",
        ),
        ("listen.port", 70_000, "listen.port: Input should be less than or equal to 65535 (it is 70000)"),
        ("dry_run", "perhaps", "dry_run: Input should be a valid boolean"),
    ],
)
def test_a_wrong_field_is_named_with_its_path(path: str, value: object, said: str, tmp_path: Path) -> None:
    file = written(tmp_path, (path, value))
    with pytest.raises(InputError) as caught:
        load_config(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_wrong_fields_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plant\.namespace: .*; max_replicas: ") as caught:
        load_config(written(tmp_path, ("plant.namespace", "A"), ("max_replicas", 0)))
    assert str(caught.value).count("; ") == 1


@pytest.mark.parametrize("content", [b"", b"a: [", b"[1, 2]", b"\xff\xfe\x00", b"hello"])
def test_what_is_no_configuration_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"web\.yaml: "):
        load_config(tmp_path / "web.yaml")
    with pytest.raises(InputError, match=r"no such controller's YAML file"):
        load_config(tmp_path / "other.yaml")


def test_every_field_is_described() -> None:
    def described(schema: dict[str, Any], path: str) -> None:
        for name, field in schema.get("properties", {}).items():
            assert field.get("description"), f"{path}{name}"

    schema = ControlConfig.model_json_schema()
    described(schema, "")
    for name, part in schema["$defs"].items():
        described(part, f"{name}.")


class Clock:
    def now_seconds(self) -> float:
        return 0.0

    def wait(self, seconds: float) -> bool:
        raise AssertionError(seconds)


BUNDLE = ("policy", str(TINY))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([("policy", "magic")], "policy 'magic' is unknown"),
        ([("policy", "hpa:target=7000")], "target is 7000"),
        ([("policy", "none.bundle")], "none.bundle: no such file"),
        ([("fingerprint", "12345678")], "policy hpa:target=0.6 is no bundle"),
        ([BUNDLE, ("fingerprint", "12345678")], "fingerprint: "),
        ([BUNDLE, ("prometheus", None)], "prometheus: is missing"),
        ([BUNDLE, ("max_replicas", 201)], "web: bounds 2 to 201 must be within 2 to 200 replicas"),
        ([BUNDLE, ("guard.frozen", True)], "guard: frozen cannot be set here"),
        ([], "kube.yaml: cannot be used as a kubeconfig"),
    ],
)
def test_nothing_starts_with_parts_that_do_not_fit(
    changes: list[tuple[str, object]], said: str, tmp_path: Path
) -> None:
    config = load_config(written(tmp_path, *changes))
    with pytest.raises(InputError) as caught:
        assemble(config, Clock())
    assert said in str(caught.value)


class NoDeployment:
    def __init__(self, *_: object) -> None:
        pass

    def snapshot(self) -> None:
        msg = "deployment shop/web does not exist"
        raise PlantGone(msg)


def test_a_deployment_that_is_not_there_is_found_before_the_first_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "connect", lambda _: None)
    monkeypatch.setattr(controller, "Deployment", NoDeployment)
    with pytest.raises(PlantGone, match="does not exist"):
        assemble(load_config(written(tmp_path)), Clock())


def test_a_bundle_keeps_its_own_guard_within_tighter_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "connect", lambda _: None)
    monkeypatch.setattr(NoDeployment, "snapshot", lambda _: None)
    monkeypatch.setattr(controller, "Deployment", NoDeployment)
    fingerprint = load_bundle(TINY).fingerprint
    made = assemble(load_config(written(tmp_path, BUNDLE, ("fingerprint", fingerprint[:12]))), Clock())
    expected = load_bundle(TINY).interface.tightened(np.array([2]), np.array([20])).guard
    assert made.guard.settings == expected
    rule = assemble(load_config(written(tmp_path, ("guard.max_step_down", 1))), Clock())
    assert (rule.guard.settings.max_replicas, rule.guard.settings.max_step_down) == ((20,), 1)
    assert type(rule.policy) is type(make("hpa", controller.Context(("web",), np.array([2]), np.array([20]))))
