"""``setpoint bundle inspect``, ``setpoint policies`` and ``setpoint forecast list``, with core dependencies alone."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import yaml
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agents.bundle import SUFFIX, load_bundle
from agents.forecast.registry import FORECASTERS
from agents.registry import RULES, Entry
from envs.names import env_id, task_names
from envs.observer import FEATURES
from envs.task import load_task
from experiments.extras import how_to_install
from experiments.recipes import ABOUT


def inspect_bundle(file: Path) -> None:
    """Print provenance, observation, actions and guard.

    Raises:
        InputError: if the file is no whole bundle.
    """
    bundle = load_bundle(file)
    interface = bundle.interface
    console = Console(highlight=False, soft_wrap=True)
    changes = ", ".join(map(interface.actions.describe, range(interface.actions.count)))
    console.print(
        _pairs(
            {
                "file": file,
                "fingerprint": bundle.fingerprint,
                "actor": f"ONNX, {len(bundle.actor):,} bytes",
                "services": ", ".join(interface.services),
                "decides every": f"{interface.period_seconds:g} s",
                "actions": changes,
                **{f"guard {name}": value for name, value in interface.guard.model_dump().items()},
                **{f"observer {name}": value for name, value in interface.observer.model_dump().items()},
                **{f"trained: {name}": value for name, value in bundle.provenance.items()},
            }.items()
        )
    )
    features = Table("feature", "unit", "scale", "from", "to", box=None, padding=(0, 2, 0, 0))
    for feature in FEATURES:
        features.add_row(
            feature.name, feature.unit, f"{feature.scale:g}", f"{feature.low:g}", f"{feature.high:g}"
        )
    console.print()
    console.print(features)


def show_policies() -> None:
    """Print the rules with their settings, the recipes, and what else is a policy."""
    console = Console(highlight=False, soft_wrap=True)
    for name, entry in sorted(RULES.items()):
        console.print(f"{name}: {entry.summary}")
        console.print(_settings(entry))
        if entry.space:
            console.print(f"  searched by setpoint calibrate: {entry.space.about}")
        console.print()
    console.print("recipes, which search before they run; for settings of a rule as setpoint calibrate does:")
    console.print(_pairs(ABOUT.items()))
    console.print(
        f"\nA rule's settings are written NAME:setting=value,...; a bundle is named by its path (*{SUFFIX})."
    )


def _settings(entry: Entry) -> Table:
    table = Table("  setting", "default", "what it is", box=None, padding=(0, 2, 0, 0))
    table.columns[2].overflow = "fold"
    for name, field in entry.settings.model_fields.items():
        default = "needed" if field.is_required() else _written(field.default)
        table.add_row(f"  {name}", default, field.description or "")
    return table


def _written(default: object) -> str:
    """A setting's default as it is written in a spec."""
    if isinstance(default, BaseModel):
        content = default.model_dump(mode="json", exclude_unset=True)
        written = yaml.safe_dump(content, default_flow_style=True, width=math.inf, sort_keys=False)
        return str(written).strip()
    return "not set" if default is None else str(default)


def _pairs(pairs: Iterable[tuple[str, object]]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in pairs:
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        table.add_row(name, "off" if value is None else shown)
    return table


def show_tasks() -> None:
    """Print the tasks that ship, each with its question."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    console.print(_pairs((name, load_task(name).question) for name in task_names()))
    console.print("\nAnother task is named by its YAML file; setpoint task fit makes one from a record.")
    console.print(f"gymnasium.make knows them as {env_id('web')}, {env_id('cold-start')} and so on.")


def show_forecasters() -> None:
    """Print the forecasters, whether a control loop may use them, and how to install what is missing."""
    table = Table("forecaster", "for control", "what it does", "is missing", box=None, padding=(0, 2, 0, 0))
    for name, entry in FORECASTERS.items():
        is_there = not entry.library or find_spec(entry.library)
        missing = "" if is_there else escape(how_to_install(entry.library) or entry.library)
        table.add_row(name, "yes" if entry.control else "no", entry.summary, missing)
    Console(highlight=False, soft_wrap=True).print(table)
