from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.errors import InputError
from simulator.ownership import check_import_names, find_clashes


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path that takes fake distributions."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    check_import_names.cache_clear()
    yield tmp_path
    check_import_names.cache_clear()


def install(site: Path, name: str, **files: str) -> None:
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for file, text in files.items():
        (info / file.replace("_txt", ".txt")).write_text(text)


def test_our_import_names_are_ours_alone() -> None:
    check_import_names()


def test_a_clash_names_the_other_distribution(site: Path) -> None:
    install(site, "other", RECORD="other.py,,\nagents/__init__.py,,\nenvs/__init__.py,,\n")
    with pytest.raises(InputError, match=r": agents \(other\); envs \(other\)\. "):
        check_import_names()


@pytest.mark.parametrize(
    "files",
    [
        {"RECORD": "agents/__init__.py,,\n"},
        {"RECORD": "a.py,,\nagents/deep/x.py,,\n"},
        {"RECORD": "a.py,,\nagents.py,sha256=x,3\n"},
        {"RECORD": "__editable__.pth,,\n", "top_level_txt": "tests\nagents\n"},
    ],
    ids=["first line", "package without __init__", "module", "editable install of setuptools"],
)
def test_each_way_to_provide_a_name_is_seen(site: Path, files: dict[str, str]) -> None:
    install(site, "other", **files)
    assert find_clashes() == ["agents (other)"]


def test_names_that_only_look_alike_are_no_clash(site: Path) -> None:
    record = "my_agents/__init__.py,,\nagentsmith/x.py,,\nlib/agents/x.py,,\nagents.pyi,,\n"
    install(site, "innocent", RECORD=record, top_level_txt="agentsmith\nmy_agents\n")
    assert find_clashes() == []


def test_ours_is_no_clash_with_itself(site: Path) -> None:
    install(site, "setpoint", RECORD="agents/__init__.py,,\n")
    assert find_clashes() == []
