from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from envs.names import task_names
from envs.task import Task, load_task
from simulator.errors import InputError
from simulator.trace import Trace


@pytest.mark.parametrize("name", task_names())
def test_every_shipped_task_loads_and_survives_a_round_trip(name: str) -> None:
    task = load_task(name)
    assert Task.model_validate(task.model_dump(mode="json")) == task


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("scenario.service.slots_per_pod", 0),
        ("scenario.service.service_time.mean_seconds", -1),
        ("scenario.service.start_up.p50_seconds", "soon"),
        ("scenario.service.max_replicas", 1),
        ("scenario.metrics.window_seconds", 20),
        ("objective.slo_seconds", 0),
        ("objective.violation_budget", 2),
        ("actions.changes", [0.5, 0.1]),
        ("horizon_seconds", 100),
        ("colour", "blue"),
    ],
)
def test_each_wrong_field_has_its_own_message(path: str, value: Any, tmp_path: Path) -> None:
    content = load_task("web").model_dump(mode="json")
    place = content
    *parents, last = path.split(".")
    for parent in parents:
        place = place[parent]
    place[last] = value
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError) as caught:
        load_task(tmp_path / "mine.yaml")
    assert str(tmp_path / "mine.yaml") in str(caught.value)
    assert last in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"), [(":\n- {", "not a YAML file"), ("[]", "must hold fields"), ("", "must hold fields")]
)
def test_what_is_no_task_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_task(tmp_path / "bad.yaml")


def written(tmp_path: Path, path: str, value: Any) -> Path:
    """The web task as a file with one field changed; ``...`` leaves it out."""
    content = load_task("web").model_dump(mode="json")
    place = content
    *parents, last = path.split(".")
    for parent in parents:
        place = place[parent]
    place[last] = value
    if value is ...:
        del place[last]
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("name", "", "name: String should have at least 1 character (it is '')"),
        ("period_seconds", 0, "period_seconds: Input should be greater than 0 (it is 0)"),
        ("period_seconds", 3601, "period_seconds: Input should be less than or equal to 3600 (it is 3601)"),
        ("horizon_seconds", -1, "horizon_seconds: Input should be greater than 0 (it is -1)"),
        ("judged_seconds", 0, "judged_seconds: Input should be greater than 0 (it is 0)"),
        (
            "objective.slo_seconds",
            "fast",
            "objective.slo_seconds: Input should be a valid number, unable to parse",
        ),
        (
            "objective.slo_seconds",
            float("nan"),
            "objective.slo_seconds: Input should be a finite number (it is nan)",
        ),
        (
            "objective.usd_per_violation",
            -1,
            "objective.usd_per_violation: Input should be greater than or equal to 0",
        ),
        ("objective.usd_per_violation", ..., "objective.usd_per_violation: Field required"),
        (
            "scenario.prices.usd_per_vcpu_hour",
            -1,
            "scenario.prices.usd_per_vcpu_hour: Input should be greater",
        ),
        (
            "scenario.workload.mean_rps",
            0,
            "scenario.workload.mean_rps: Input should be greater than 0 (it is 0)",
        ),
        (
            "scenario.metrics.lag_seconds",
            -1,
            "scenario.metrics.lag_seconds: Input should be greater than or equal",
        ),
        ("scenario.service", ..., "scenario: one of service and application must be given"),
        (
            "scenario.service.min_replicas",
            -1,
            "scenario.service.min_replicas: Input should be greater than or equal",
        ),
        (
            "scenario.service.slots",
            3,
            "scenario.service.slots: is no field of Service, did you mean slots_per_pod? (there are: name, ",
        ),
        (
            "actions.changes",
            [-0.1, 0.1],
            "actions.changes: changes must ascend, start at -1 or above and hold 0",
        ),
        ("horizon_seconds", 100, "the whole: horizon_seconds (100) must be a whole number of periods (15 s)"),
    ],
)
def test_a_message_names_the_file_the_path_and_what_is_allowed(
    path: str, value: Any, said: str, tmp_path: Path
) -> None:
    file = written(tmp_path, path, value)
    with pytest.raises(InputError) as caught:
        load_task(file)
    assert str(caught.value).startswith(f"{file}: {said}")
    assert len(str(caught.value).partition(" (there are: ")[0]) < 300


def test_the_law_of_the_service_time_is_chosen_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="scenario.service.service_time: law 'weibull' .*: lognormal, exponential"
    ):
        load_task(written(tmp_path, "scenario.service.service_time.law", "weibull"))


def test_two_wrong_fields_are_told_at_once(tmp_path: Path) -> None:
    content = load_task("web").model_dump(mode="json") | {"period_seconds": 0, "judged_seconds": 0}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="period_seconds: .*; judged_seconds: "):
        load_task(tmp_path / "mine.yaml")


def test_no_such_task(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_task(tmp_path / "gone.yaml")
    names = ", ".join(task_names())
    assert str(caught.value) == f"{tmp_path / 'gone.yaml'}: no such task file; tasks that ship: {names}"
    with pytest.raises(InputError, match="webb: no such task file; tasks that ship: .*web"):
        load_task("webb")
    with pytest.raises(InputError, match="cannot be read as a task file"):
        load_task(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as a task file"):
        load_task(tmp_path / "bytes.yaml")


def test_a_task_file_is_the_task(tmp_path: Path) -> None:
    task = load_task(written(tmp_path, "horizon_seconds", 1800))
    assert task == load_task("web").model_copy(update={"horizon_seconds": 1800.0})
    assert Task.model_validate(task.model_dump()) == task


def test_its_parts_are_read_off_the_scenario() -> None:
    task = load_task("web")
    service, interface = task.scenario.service, task.interface
    assert interface.services == (service.name,)
    assert interface.observer.capacity_rps == (service.slots_per_pod / service.service_time.mean_seconds,)
    assert interface.guard.min_replicas == (service.min_replicas,)
    assert interface.guard.max_replicas == (service.max_replicas,)
    assert interface.period_seconds == interface.observer.period_seconds == task.period_seconds
    assert interface.observer.slo_seconds == task.objective.slo_seconds
    assert (interface.guard.max_step_up, interface.guard.cooldown_seconds, interface.guard.frozen) == (
        None,
        0,
        False,
    )


def test_each_region_of_multi_region_has_nodes_in_two_zones() -> None:
    """Else the loss of a zone would be that of its region."""
    task = load_task("multi-region")
    cluster = task.build(0, Trace(np.full(2, 60.0), bin_seconds=60.0))
    cluster.advance(1.0)
    seen = cluster.snapshot().nodes
    assert seen is not None
    assert (seen.ready >= 1).all()
    assert len(seen.ready) == 4
