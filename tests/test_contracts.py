"""What is loaded, which import-linter cannot see: it counts imports inside functions, too."""

from __future__ import annotations

import subprocess
import sys

import pytest

RESEARCH = {
    "simpy",
    "numba",
    "scipy",
    "pandas",
    "pyarrow",
    "gymnasium",
    "torch",
    "stable_baselines3",
    "onnx",
    "mlflow",
    "matplotlib",
    "plotly",
    "sklearn",
    "statsforecast",
    "prophet",
    "optuna",
}
HEAVY = RESEARCH | {"numpy", "onnxruntime", "kubernetes", "pydantic", "rich", "httpx"}


def loaded_by(*modules: str) -> set[str]:
    """Top-level names in sys.modules of a fresh interpreter after these imports."""
    program = f"import {', '.join(modules)}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names = {name.partition(".")[0] for name in done.stdout.split()}
    assert {module.partition(".")[0] for module in modules} <= names
    return names


@pytest.mark.parametrize(
    "module",
    [
        "controllers.loop",
        "controllers.controller",
        "experiments.inspection",
        "agents.registry",
        "agents.bundle",
        "agents.forecast.registry",
        "agents.forecast.backtest",
        "envs.task",
        "simulator.plant",
        "experiments.cli",
    ],
)
def test_what_a_controller_loads_needs_the_core_alone(module: str) -> None:
    assert not loaded_by(module) & RESEARCH


def test_the_folders_themselves_import_nothing_heavy() -> None:
    folders = (
        "simulator",
        "envs",
        "agents",
        "agents.baselines",
        "agents.forecast",
        "agents.learn",
        "controllers",
        "experiments",
    )
    assert not loaded_by(*folders) & HEAVY
