"""The rule of conftest.py, on suites of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from skips import ALLOWED_SKIPS

pytest_plugins = ["pytester"]
HERE = Path(__file__).parent

TESTS = """
import pytest

def test_passes(): pass

def test_calls_skip(): pytest.skip("no reason")

@pytest.mark.skip(reason="none either")
def test_is_marked(): pass

@pytest.fixture
def absent(): pytest.skip("not here")

def test_wants_it(absent): pass

@pytest.mark.parametrize("n", [1, 2])
def test_named(n): pytest.skip("known")

@pytest.mark.parametrize("n", [1, 2])
def test_one_named(n): pytest.skip("known")

@pytest.mark.xfail
def test_expected(): assert False
"""
NAMED = ["test_it.py::test_named", "test_it.py::test_one_named[2]", "test_known.py"]


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """An empty suite with this project's conftest.py."""
    pytester.makeconftest((HERE / "conftest.py").read_text())
    pytester.makepyfile(skips=f"ALLOWED_SKIPS = dict.fromkeys({NAMED!r}, 'because')")
    pytester.makeini(f"[pytest]\npythonpath = . {HERE}\n")
    return pytester


@pytest.mark.parametrize("workers", ["0", "2"])
def test_under_ci_a_skip_fails_unless_it_is_named(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.setenv("CI", "true")
    suite.makepyfile(test_it=TESTS)
    result = suite.runpytest_subprocess("-n", workers)
    result.assert_outcomes(passed=1, xfailed=1, skipped=3, failed=2, errors=2)
    result.stdout.fnmatch_lines(["*does not name test_it.py::test_one_named?1?: Skipped: known"])


@pytest.mark.parametrize("workers", ["0", "2"])
def test_under_ci_a_skipped_module_fails_unless_it_is_named(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.setenv("CI", "true")
    module = "import pytest\npytest.importorskip('there_is_no_such_module')\ndef test_it(): pass"
    suite.makepyfile(test_known=module)
    assert suite.runpytest_subprocess("-n", workers).ret == pytest.ExitCode.NO_TESTS_COLLECTED
    suite.makepyfile(test_other=module)
    result = suite.runpytest_subprocess("-n", workers)
    assert result.ret not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    result.stdout.fnmatch_lines(["*does not name test_other.py: Skipped: could not import*"])


def test_elsewhere_a_skip_is_a_skip(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    suite.makepyfile(test_it=TESTS)
    suite.runpytest_subprocess().assert_outcomes(passed=1, xfailed=1, skipped=7)


@pytest.mark.parametrize("node", ALLOWED_SKIPS)
def test_what_may_be_skipped_exists_and_says_why(node: str) -> None:
    file, _, name = node.partition("::")
    text = (HERE.parent / file).read_text()
    assert f"def {name.partition('[')[0]}(" in text
    assert ALLOWED_SKIPS[node]
