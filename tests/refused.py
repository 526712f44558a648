"""A task that the batch engine refuses: its pods may run out of memory."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from envs.task import Task, load_task

WHY: Final = "the batch engine does not model: memory that may run out of service function"


def refused_task() -> Task:
    """One that is quick to run."""
    task = load_task("scale-to-zero")
    service = task.scenario.service
    assert service is not None
    memory = service.memory.model_copy(update={"base_gib": 0.5, "gib_per_request": 0.9})
    hungry = service.model_copy(update={"slots_per_pod": 2, "memory": memory})
    return task.model_copy(
        update={"name": "hungry", "scenario": task.scenario.model_copy(update={"service": hungry})}
    )


def write_refused_task(folder: Path) -> Path:
    """The same as a file."""
    path = folder / "hungry.yaml"
    task = refused_task().model_dump(mode="json", exclude_none=True)
    path.write_text(yaml.safe_dump(task), encoding="utf-8")
    return path
