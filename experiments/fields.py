"""Every field of a task's YAML file as a page: ``python -m experiments.fields > docs/task-fields.md``."""

from __future__ import annotations

import sys
from typing import Any

from envs.task import Task

HEAD = """# Fields of a task's YAML file

Made by `python -m experiments.fields > docs/task-fields.md` from the descriptions beside the code. What has no
default must be given. What the fields of an application mean together: `docs/applications.md`.
"""


def describe_fields() -> str:
    """The page."""
    schema = Task.model_json_schema()
    parts = {"Task": schema} | schema["$defs"]
    order = _reached(parts)
    return "\n".join([HEAD, *(_section(name, parts[name]) for name in order)])


def _reached(parts: dict[str, Any]) -> list[str]:
    """The parts in the order in which a reader meets them."""
    order: list[str] = []
    waiting = ["Task"]
    while waiting:
        name = waiting.pop(0)
        if name not in order:
            order.append(name)
            waiting += [
                found for field in parts[name].get("properties", {}).values() for found in _names(field)
            ]
    return order


def _names(field: object) -> list[str]:
    """The parts that a field may hold."""
    if isinstance(field, dict):
        own = [str(field["$ref"]).rpartition("/")[2]] if "$ref" in field else []
        inner = [value for key, value in field.items() if key not in {"$ref", "discriminator", "default"}]
        return own + [name for value in inner for name in _names(value)]
    return [name for value in field for name in _names(value)] if isinstance(field, list) else []


def _section(name: str, part: dict[str, Any]) -> str:
    lines = [f"## {name}", "", part.get("description", "").split("\n\n")[0].replace("\n", " "), ""]
    lines += ["| field | default | meaning |", "|---|---|---|"]
    required = part.get("required", [])
    for field, about in part.get("properties", {}).items():
        default = "" if field in required else f"`{_default(about)}`"
        holds = ", ".join(dict.fromkeys(_names(about)))
        said = about.get("description", "Says which kind it is." if "const" in about else "")
        text = " ".join(filter(None, [said, f"See {holds}." if holds else ""]))
        lines.append(f"| {field} | {default} | {text.replace('|', '/')} |")
    return "\n".join([*lines, ""])


def _default(about: dict[str, Any]) -> str:
    value = about.get("default", about.get("const"))
    if isinstance(value, dict):
        return "{...}" if value else "{}"
    return "none" if value is None else str(value)


def main() -> None:
    """Print the page."""
    sys.stdout.write(describe_fields())


if __name__ == "__main__":
    main()
