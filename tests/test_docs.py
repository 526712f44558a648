"""What the guides show runs, and what is generated is current."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from agents.registry import make
from envs.task import load_task
from experiments.fields import describe_fields
from experiments.run import make_context
from simulator.trace import Trace

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("*.yaml"))


def test_the_page_of_fields_is_current() -> None:
    assert (DOCS / "task-fields.md").read_text(encoding="utf-8") == describe_fields()


def test_every_field_is_described() -> None:
    page = describe_fields()
    bare = [line for line in page.splitlines() if re.match(r"\| \S+ \| [^|]* \|\s+\|$", line)]
    assert bare == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path) -> None:
    task = load_task(path)
    trace = Trace(np.array([6000.0, 9000.0]), 60.0)
    cluster = task.build(0, trace)
    policy = make("hpa:target=0.6", make_context(task, None, 0))
    cluster.apply(policy.decide(cluster.snapshot()))
    interval = cluster.advance(120.0)
    assert interval.requests.served.sum() > 0.99 * interval.requests.offered.sum()


def test_there_is_an_example() -> None:
    assert [path.stem for path in EXAMPLES] == ["orders"]


@pytest.mark.parametrize(
    ("guide", "printed"),
    [
        ("applications.md", "['web', 'app', 'db']"),
        ("clusters.md", "[2.] [2.]"),
        ("calibrate.md", "100 (100,) (100,)"),
        ("forecast.md", "(2, 1, 5, 9)"),
    ],
)
def test_the_python_of_a_guide_runs(guide: str, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS / guide).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 1
    exec(compile(blocks[0], guide, "exec"), {})
    assert printed in capsys.readouterr().out


SPEC = re.compile(r"--policy '((?:hpa|keda):[^']+)'|((?:hpa|keda):[^\s`|]+)")
SPECS = sorted({one or other for one, other in SPEC.findall((DOCS / "hpa.md").read_text(encoding="utf-8"))})


@pytest.mark.parametrize("spec", SPECS)
def test_the_specs_of_the_guide_to_hpa_and_keda_are_policies(spec: str) -> None:
    assert make(spec, make_context(load_task("web"), None, 0)).period_seconds == 15


def test_there_are_specs() -> None:
    assert len(SPECS) > 5
