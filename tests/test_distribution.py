"""The bare wheel in a clean environment: the command and the control loop with core dependencies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ABSENT = ("torch", "stable_baselines3", "mlflow", "simpy", "gymnasium", "pandas")


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_bare_wheel(tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    assert "evaluate" in run(python.with_name("setpoint"), "--help", cwd=tmp_path)
    found = f"import importlib.util as u; print([n for n in {ABSENT} if u.find_spec(n)])"
    assert run(python, "-c", found, cwd=tmp_path).strip() == "[]"
    names = "import importlib.metadata as m; print(m.packages_distributions()['agents'], m.packages_distributions()['envs'])"
    assert run(python, "-c", names, cwd=tmp_path).strip() == "['setpoint'] ['setpoint']"
    run(python, ROOT / "tests" / "bare_controller.py", cwd=tmp_path)
    missing = subprocess.run(
        [python.with_name("setpoint"), "traces", "show", "none.csv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert missing.returncode == 2
    assert "pip install 'setpoint[" in missing.stderr
