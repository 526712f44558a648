from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from envs.task import Task, load_task, task_names
from simulator.errors import InputError


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
    ("text", "message"), [(":\n- {", "not a YAML file"), ("[]", "valid dictionary"), ("", "valid")]
)
def test_what_is_no_task_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_task(tmp_path / "bad.yaml")
