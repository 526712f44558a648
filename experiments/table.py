"""The result table: one long table, a row a run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.measures import MEASURES
from experiments.sweep import atomic_path

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


def write_table(table: pd.DataFrame, folder: Path) -> None:
    """Write ``results.csv`` and ``results.parquet``; NaN is an empty field in the CSV."""
    csv = table.to_csv(index=False, lineterminator="\n").encode()
    parquet = io.BytesIO()
    table.to_parquet(parquet, index=False)
    for name, content in (("results.csv", csv), ("results.parquet", parquet.getvalue())):
        with atomic_path(folder / name) as partial:
            partial.write_bytes(content)
