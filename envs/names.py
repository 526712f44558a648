"""The tasks that ship, and what Gymnasium calls them."""

from __future__ import annotations

from importlib import resources


def task_names() -> list[str]:
    """The tasks that ship with setpoint."""
    folder = resources.files("envs") / "tasks"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def env_id(task: str) -> str:
    """The name of a task's environment: ``setpoint/Web-v1`` of ``web``."""
    words = "".join(word.capitalize() for word in task.split("-"))
    return f"setpoint/{words}-v1"
