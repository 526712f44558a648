from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "simpy",
    "numba",
    "scipy",
    "pandas",
    "mlflow",
    "torch",
    "stable_baselines3",
    "gymnasium",
    "matplotlib",
    "plotly",
}


def loaded_by(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "module", ["controllers.loop", "agents.registry", "agents.bundle", "envs.task", "experiments.cli"]
)
def test_a_controller_loads_no_simulator_and_no_training(module: str) -> None:
    assert not loaded_by(f"import {module}") & HEAVY


def test_the_folders_themselves_import_nothing_heavy() -> None:
    heavy = HEAVY | {"numpy", "pydantic", "kubernetes", "onnxruntime"}
    assert not loaded_by("import simulator, envs, agents, agents.learn, controllers, experiments") & heavy
