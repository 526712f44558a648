"""Registration in fresh interpreters, where Gymnasium is looked for and imported in other orders."""

from __future__ import annotations

import subprocess
import sys

import pytest

MADE = "import gymnasium; print('setpoint/Web-v1' in gymnasium.registry)"
LEFT = "import sys; print(any('AfterGymnasium' in repr(one) for one in sys.meta_path))"


def output_of(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("looks", [1, 2])
def test_looking_for_gymnasium_does_not_lose_the_registration(looks: int) -> None:
    look = "import importlib.util; print(importlib.util.find_spec('gymnasium') is not None)"
    assert output_of("; ".join([*[look] * looks, LEFT, MADE, LEFT])) == [
        *["True"] * looks,
        "True",
        "True",
        "False",
    ]
