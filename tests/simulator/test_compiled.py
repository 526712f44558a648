"""Compiled code is made anew whenever anything it was made of changes."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import simulator
from simulator.compiled import SOURCES, sources_digest
from simulator.kernel.loop import run

FOLDER = Path(simulator.__file__).parent
DRAW = """
import numpy as np
from simulator.laws.draws import draw_many
from simulator.laws.exponential import CODE
print(draw_many(CODE, np.array([1.0]), np.zeros(1, np.uint64))[0])
"""


def test_every_compiled_file_is_among_the_sources() -> None:
    sources = {path for pattern in SOURCES for path in FOLDER.glob(pattern)}
    for path in FOLDER.rglob("*.py"):
        text = path.read_text()
        assert path in sources or ("@inlined" not in text and "@kernel" not in text), path
    for pattern in SOURCES:
        assert list(FOLDER.glob(pattern)), pattern


def test_the_kernel_is_stamped_with_them() -> None:
    assert run._cache._cache_file._source_stamp == sources_digest()  # type: ignore[attr-defined]


def test_a_change_in_another_file_is_compiled(tmp_path: Path) -> None:
    """``draw_many`` is compiled with what stands in ``randomness.py``."""
    shutil.copytree(FOLDER, tmp_path / "simulator", ignore=shutil.ignore_patterns("__pycache__"))

    def draw() -> float:
        command = [sys.executable, "-c", DRAW]
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return float(done.stdout)

    before = draw()
    assert draw() == before
    source = tmp_path / "simulator" / "randomness.py"
    changed = source.read_text().replace("* _TO_UNIT", "* _TO_UNIT * 0.5")
    assert changed != source.read_text()
    source.write_text(changed)
    assert draw() == pytest.approx(before + math.log(2))
