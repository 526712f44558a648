"""Fixtures, and the rule that with CI=true a skip is a failure unless skips.py names it."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest
from skips import ALLOWED_SKIPS

ROOT = Path(__file__).parent.parent
CI = os.environ.get("CI") == "true"
pytest_plugins = ["control_plane.fixtures"]

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.load_profile("ci" if CI else "dev")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_if_skipped(report)
    return report


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Under CI, turn a skip that skips.py does not name into a failure; an expected failure is no skip."""
    if not CI or not report.skipped or hasattr(report, "wasxfail"):
        return
    if report.nodeid in ALLOWED_SKIPS or report.nodeid.partition("[")[0] in ALLOWED_SKIPS:
        return
    reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"skipped under CI, but tests/skips.py does not name {report.nodeid}: {reason}"


@pytest.fixture(scope="session")
def traces_dir() -> Path:
    """The folder of real traces."""
    folder = Path(os.environ.get("SETPOINT_TRACES", ROOT.parent / "shared" / "traces"))
    if not (folder / "MANIFEST.json").is_file():
        pytest.skip(f"set SETPOINT_TRACES to a folder of traces: {folder} holds no MANIFEST.json")
    return folder
