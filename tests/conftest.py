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

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.load_profile("ci" if CI else "dev")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if CI and report.skipped and not any(item.nodeid.startswith(start) for start in ALLOWED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI and not named in tests/skips.py: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def traces_dir() -> Path:
    """The folder of real traces."""
    folder = Path(os.environ.get("SETPOINT_TRACES", ROOT.parent / "shared" / "traces"))
    if not (folder / "MANIFEST.json").is_file():
        pytest.skip(
            f"no traces in {folder}: set SETPOINT_TRACES to a folder that has them with a MANIFEST.json"
        )
    return folder
