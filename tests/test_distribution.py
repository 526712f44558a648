"""The bare wheel in a clean environment: the command and the control loop with core dependencies."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"simulator", "envs", "agents", "controllers", "experiments"}
ABSENT = ("torch", "stable_baselines3", "mlflow", "simpy", "numba", "gymnasium", "pandas")
CHECK_ABSENT = f"from importlib.util import find_spec; print([n for n in {ABSENT} if find_spec(n)])"
CHECK_OWNERS = f"""
from importlib.metadata import packages_distributions
from simulator.ownership import check_import_names
check_import_names()
owners = packages_distributions()
print({{owner for folder in {FOLDERS} for owner in owners[folder]}})
"""


def run(*command: str | Path, cwd: Path, code: int = 0) -> tuple[str, str]:
    """Standard output and standard error of a command that has to end with this code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout.strip(), done.stderr.strip()


def check_contents(wheel: Path) -> None:
    """The five folders with their data and without notebooks; beside them what tells Gymnasium of us."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in packed} == FOLDERS | {"setpoint-gymnasium.pth"}
    data = {"envs/tasks/web.yaml", "experiments/report.html.j2", "controllers/manifests/rbac.yaml"}
    assert data <= packed
    assert not [name for name in packed if "__pycache__" in name or name.endswith(".ipynb")]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_bare_wheel(tmp_path: Path) -> None:
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path)
    run(*build, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    check_contents(wheel)
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    assert run(python, "-c", CHECK_ABSENT, cwd=tmp_path)[0] == "[]"
    assert run(python, "-c", CHECK_OWNERS, cwd=tmp_path)[0] == "{'setpoint'}"

    setpoint = python.with_name("setpoint")
    assert "evaluate" in run(setpoint, "--help", cwd=tmp_path)[0]
    (tmp_path / "trace.csv").write_text("t_seconds,requests\n0,1\n60,2\n")
    _, error = run(setpoint, "traces", "show", "trace.csv", cwd=tmp_path, code=2)
    assert "pip install 'setpoint[" in error
    assert (
        "fingerprint" in run(setpoint, "bundle", "inspect", ROOT / "tests/data/tiny.bundle", cwd=tmp_path)[0]
    )
    _, error = run(setpoint, "control", "run", "none.yaml", cwd=tmp_path, code=2)
    assert error == "setpoint: none.yaml: no such controller's YAML file"
    run(python, ROOT / "tests" / "bare_controller.py", cwd=tmp_path)
