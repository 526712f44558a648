"""``setpoint evaluate``: policies judged on one trace or several, with the tables on the screen."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.table import Table

from experiments.commands import CONSOLE, Part, load_task_and_warn, load_trace, status
from experiments.comparison import DEFAULTS, compare, draw_comparison
from experiments.evaluate import Question, check_question
from experiments.evaluate import evaluate as judge
from experiments.outputs import check_folder
from experiments.report import Findings, of_oracle, summarize, verdict
from simulator.errors import InputError
from simulator.files import whole_file


def evaluate(
    parts: list[Part],
    policies: tuple[str, ...],
    seeds: int,
    out: Path,
    processes: int | None,
    *,
    oracle: bool = True,
) -> None:
    """``setpoint evaluate``; with several parts each goes to a folder of its trace's name."""
    check_folder("--out", out)
    questions = {
        _name_of(part): Question(
            task=load_task_and_warn(part.task),
            trace=load_trace(part.trace or ""),
            policies=policies,
            seeds=seeds,
            start_seconds=part.start,
            duration_seconds=part.duration,
            mean_rps=part.mean_rps,
            oracle=oracle,
        )
        for part in parts
    }
    if len(questions) < len(parts):
        msg = "--trace: two files have the same name, which is that of their folder: rename one"
        raise InputError(msg)
    if len(parts) == 1:
        (question,) = questions.values()
        _judge(question, out, processes)
        return
    for question in questions.values():
        check_question(question)
    found = {}
    for name, question in questions.items():
        CONSOLE.rule(name, align="left")
        found[name] = _judge(question, out / name, processes)
    CONSOLE.rule("all traces", align="left")
    _write_comparison(found, out)


def _name_of(part: Part) -> str:
    """A part's trace by its file, without endings."""
    return part.trace.name.partition(".")[0] if part.trace else ""


def _judge(question: Question, out: Path, processes: int | None) -> Findings:
    with status() as say:
        findings = judge(question, out, processes, say)
    print_summary(findings)
    CONSOLE.print(f"report: {out / 'report.html'}    numbers: {out / 'results.csv'}")
    return findings


def _write_comparison(found: dict[str, Findings], out: Path) -> None:
    """Print what became of each policy on several traces; ``results.csv`` has all runs, ``comparison.png`` shows it."""
    comparison = compare(found)
    table = Table(box=None, padding=(0, 2, 0, 0))
    titles = ("policy", "keeps the budget", f"cost against {DEFAULTS}", "over oracle", f"loses to {DEFAULTS}")
    for title in titles:
        table.add_column(title, justify="left" if title == "policy" else "right", overflow="fold")
    rows = comparison.rows()
    for row in rows:
        table.add_row(*(row[name] for name in ("policy", "kept", "against", "regret", "losses")))
    CONSOLE.print(table)
    CONSOLE.print("Costs are medians over the traces.")
    for row in rows:
        if row["where"]:
            CONSOLE.print(f"{row['policy']} loses to {DEFAULTS} on {row['where']}")
    every = pd.concat([findings.table for findings in found.values()])
    with whole_file(out / "results.csv") as partial:
        every.to_csv(partial, index=False, lineterminator="\n")
    draw_comparison(comparison, f"{len(found)} traces", out / "comparison.png")
    CONSOLE.print(f"picture: {out / 'comparison.png'}    numbers: {out / 'results.csv'}")


def print_summary(findings: Findings) -> None:
    """The report's table and verdict on the screen."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    names = ("policy", "cost", "violations", "against", "matched", "regret", "p95", "cpu", "events")
    titles = (
        "policy",
        "cost, USD",
        "violations, %",
        "against calibrated",
        "at matched violations",
        "over oracle",
        "p95, ms",
        "CPU",
        "scale events",
    )
    for title in titles:
        table.add_column(title, justify="left" if title == "policy" else "right", overflow="fold")
    for row in summarize(findings):
        table.add_row(*(str(row[name]) for name in names))
    CONSOLE.print(table)
    calibrated = (str(found) for found in findings.resolved if found.calibration)
    for line in (*calibrated, verdict(findings), of_oracle(findings), *findings.warnings):
        CONSOLE.print(line)
