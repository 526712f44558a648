"""Tables of cases, those that ship and those of one further folder: tests/cases/README.md."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

Case = dict[str, Any]
CASES_FOLDER: Final = Path(__file__).parent / "cases"


def rows_of(tables: Collection[str]) -> list[Any]:
    """``(table, row)`` of every case of these tables, as pytest's parameters; of SETPOINT_CASES as well."""
    further = os.environ.get("SETPOINT_CASES")
    folders = [CASES_FOLDER, *([Path(further)] if further else [])]
    return [
        pytest.param(table, row, id=f"case-{table}-{row['id']}")
        for folder in folders
        for table, rows in _read(folder)
        if table in tables
        for row in rows
    ]


def _read(folder: Path) -> Iterator[tuple[str, list[Case]]]:
    if not folder.is_dir():
        msg = f"SETPOINT_CASES is {str(folder)!r}: only a folder of *.json tables is allowed"
        raise ValueError(msg)
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        yield content["table"], content["cases"]
