"""The result table: one long table, a row a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from experiments.measures import MEASURES

COLUMNS = (
    "task",
    "trace",
    "trace_sha256",
    "start_s",
    "duration_s",
    "mean_rps",
    "policy",
    "policy_settings",
    "seed",
    "engine",
    *MEASURES,
)


def make_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows in the order given, columns as in COLUMNS."""
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_table(table: pd.DataFrame, csv: Path, parquet: Path) -> None:
    """Write the table twice; NaN is an empty field in the CSV."""
    table.to_csv(csv, index=False, lineterminator="\n")
    table.to_parquet(parquet, index=False)
