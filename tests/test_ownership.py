from __future__ import annotations

import sys
from pathlib import Path

import pytest

from simulator.errors import InputError
from simulator.ownership import check_import_names, find_clashes


def make_distribution(folder: Path, name: str, record: str) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text(record)


def test_our_import_names_are_ours_alone() -> None:
    assert find_clashes() == []


def test_a_clash_names_the_other_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_distribution(tmp_path, "other-agents", "other.py,,\nagents/__init__.py,,\n")
    make_distribution(tmp_path, "innocent", "my_agents/__init__.py,,\nagentsmith/x.py,,\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    check_import_names.cache_clear()
    with pytest.raises(InputError, match=r"agents \(other-agents\)"):
        check_import_names()
    check_import_names.cache_clear()
