"""Policies on several traces: who loses where, by hand and through the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from experiments.cli import app
from experiments.comparison import Comparison, Judged
from experiments.estimates import Estimate
from simulator.trace import Trace, write_trace

BUDGET = 0.01


def judged(cost: float, late: float, spread: float = 0.05, regret: float = float("nan")) -> Judged:
    return Judged(
        Estimate(cost, cost * (1 - spread), cost * (1 + spread)),
        Estimate(late, late * (1 - spread), late * (1 + spread)),
        regret,
    )


@pytest.mark.parametrize(
    ("one", "other", "loses"),
    [
        (judged(1.0, 0.02), judged(9.0, 0.01), True),
        (judged(9.0, 0.01), judged(1.0, 0.02), False),
        (judged(1.2, 0.001), judged(1.0, 0.009), True),
        (judged(1.08, 0.001), judged(1.0, 0.009), False),
        (judged(0.16000000000000003, 0.005, 0.0), judged(0.15999999999999984, 0.005, 0.0), False),
        (judged(0.1601, 0.005, 0.0), judged(0.16, 0.005, 0.0), True),
        (judged(1.0, 0.001), judged(1.2, 0.009), False),
        (judged(1.0, 0.05), judged(9.0, 0.04), True),
        (judged(9.0, 0.042), judged(1.0, 0.04), False),
    ],
)
def test_who_loses(one: Judged, other: Judged, loses: bool) -> None:
    assert one.loses_to(other, BUDGET) is loses


def test_a_row_counts_budgets_costs_and_losses() -> None:
    comparison = Comparison(
        {
            "a": {"hpa": judged(2.0, 0.009), "mpc": judged(3.0, 0.009, regret=0.2)},
            "b": {"hpa": judged(2.0, 0.02), "mpc": judged(2.2, 0.009, regret=0.4)},
            "c": {"hpa": judged(2.0, 0.02), "mpc": judged(1.8, 0.015)},
        },
        BUDGET,
    )
    hpa, mpc = comparison.rows()
    assert hpa == {
        "policy": "hpa",
        "kept": "1 of 3",
        "regret": "",
        "against": "",
        "losses": "",
        "where": "",
    }
    assert mpc == {
        "policy": "mpc",
        "kept": "2 of 3",
        "regret": "+30.0% (2)",
        "against": "+10.0%",
        "losses": "1 of 3",
        "where": "a",
    }


def write_waves(folder: Path, name: str, height: float) -> Path:
    minutes = np.arange(60)
    path = folder / f"{name}.csv"
    write_trace(Trace(np.round(60 * (60 + height * np.sin(minutes / 7))), 60.0), path)
    return path


def evaluate(traces: list[Path], out: Path, *more: str) -> tuple[int, str, str]:
    part = ["--start", "1800", "--duration", "600", "--seeds", "2", "--no-oracle", "--processes", "1"]
    chosen = ["--policy", "hpa", "--policy", "fixed:replicas=9", *more]
    of = [text for trace in traces for text in ("--trace", str(trace))]
    done = CliRunner().invoke(app, ["evaluate", *of, *part, *chosen, "--out", str(out)])
    return done.exit_code, done.stdout, done.stderr + str(done.exception or "")


def test_several_traces_are_judged_each_in_its_folder_and_compared(tmp_path: Path) -> None:
    traces = [write_waves(tmp_path, "calm", 5.0), write_waves(tmp_path, "wild", 40.0)]
    out = tmp_path / "out"
    code, said, error = evaluate(traces, out)
    assert code == 0, error
    every = pd.read_csv(out / "results.csv")
    assert list(every["trace"].unique()) == ["calm.csv", "wild.csv"]
    assert len(every) == 2 * 3 * 2
    for name in ("calm", "wild"):
        alone = pd.read_csv(out / name / "results.csv")
        assert alone.equals(every[every["trace"] == f"{name}.csv"].reset_index(drop=True))
        assert (out / name / "report.html").is_file()
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    (row,) = (line for line in said.splitlines() if line.startswith("fixed:replicas=9") and " of 2" in line)
    kept = [
        rows["slo_violation_ratio"].mean() <= 0.01
        for _, rows in every[every["policy"] == "fixed:replicas=9"].groupby("trace")
    ]
    assert f"{sum(kept)} of 2" in row


def test_what_is_wrong_with_one_trace_is_said_before_any_is_judged(tmp_path: Path) -> None:
    short = tmp_path / "short.csv"
    write_trace(Trace(np.full(10, 600.0), 60.0), short)
    code, _, error = evaluate([write_waves(tmp_path, "calm", 5.0), short], tmp_path / "out")
    assert code != 0
    assert "short.csv" in error
    assert not (tmp_path / "out").exists()


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    traces = [write_waves(tmp_path, "calm", 5.0), write_waves(tmp_path / "other", "calm", 9.0)]
    code, _, error = evaluate(traces, tmp_path / "out")
    assert code != 0
    assert "same name" in error
    assert not (tmp_path / "out").exists()
