from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent / "conftest.py"


@pytest.mark.parametrize(("ci", "allowed", "code"), [("true", "", 1), ("", "", 0), ("true", "test_it.py", 0)])
def test_a_skip_under_ci_fails_unless_it_is_named(tmp_path: Path, ci: str, allowed: str, code: int) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    names = {allowed: "because"} if allowed else {}
    (tmp_path / "skips.py").write_text(f"ALLOWED_SKIPS = {names!r}\n")
    (tmp_path / "test_it.py").write_text("import pytest\ndef test_it():\n    pytest.skip('no reason')\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "--rootdir",
        ".",
        ".",
    ]
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
