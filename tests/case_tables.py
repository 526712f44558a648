"""Tables of cases: those in tests/cases and those in the folder that SETPOINT_CASES names."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

Case = dict[str, Any]
FOLDER: Final = Path(__file__).parent / "cases"


def tables(folder: Path, names: Collection[str]) -> Iterator[tuple[str, list[Case]]]:
    """The folder's tables of these names."""
    if not folder.is_dir():
        msg = f"SETPOINT_CASES is {str(folder)!r}: only a folder of *.json tables is allowed"
        raise ValueError(msg)
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("table") in names:
            yield content["table"], content["cases"]


def parameters(names: Collection[str]) -> list[Any]:
    """A pytest parameter (table, row) for every row of these tables."""
    further = os.environ.get("SETPOINT_CASES")
    return [
        pytest.param(table, row, id=f"case-{table}-{row['id']}")
        for folder in [FOLDER, *([Path(further)] if further else [])]
        for table, rows in tables(folder, names)
        for row in rows
    ]


def all_are_there(names: Collection[str]) -> bool:
    """Whether every one of these tables is in tests/cases, with rows."""
    return {table for table, rows in tables(FOLDER, names) if rows} == set(names)
