"""``evaluate``: policies on one trace, one table, one page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pandas as pd

from envs.task import Task
from experiments.oracle import MOST_RATIO, ORACLE, Oracle, why_not
from experiments.parts import split_part
from experiments.recipes import Resolved, check_policy, resolve, runs_of
from experiments.report import BASELINE, Findings, write_plane, write_report
from experiments.run import Run
from experiments.sweep import Sweep
from experiments.table import make_table, write_table
from simulator.errors import InputError
from simulator.files import whole_file
from simulator.trace import Split, Trace

FEWEST_SEEDS = 5


@dataclass(frozen=True, slots=True)
class Question:
    """What is judged on what.

    Attributes:
        start_seconds: start of the judged part; None for the last day, or the last half of what is
            shorter than two days.
        oracle: whether the oracle is run wherever the task can have it.
    """

    task: Task
    trace: Trace
    policies: tuple[str, ...]
    seeds: int
    start_seconds: float | None = None
    duration_seconds: float | None = None
    mean_rps: float | None = None
    oracle: bool = True

    def split(self) -> Split:
        """History and judged part.

        Raises:
            InputError: if the part is outside the trace or there is too much to simulate.
        """
        start = self.start_seconds
        if start is None:
            wanted = self.duration_seconds or self.task.judged_seconds
            start = max(self.trace.start_seconds, self.trace.end_seconds - wanted)
            if self.trace.duration_seconds < 2 * wanted and self.duration_seconds is None:
                bins = len(self.trace.requests) // 2
                start = self.trace.start_seconds + bins * self.trace.bin_seconds
        duration = self.duration_seconds or min(self.task.judged_seconds, self.trace.end_seconds - start)
        return split_part(self.trace, start, duration if duration > 0 else None, self.mean_rps)


def evaluate(question: Question, out: Path, processes: int | None, say: Callable[[str], None]) -> Findings:
    """Judge and write ``results.csv``, ``results.parquet``, ``report.html`` and ``plane.png`` to a folder.

    Finished runs stay in ``out/runs``, so the same command resumes after an interruption.

    Raises:
        InputError: before anything is written, if a policy or the trace's part is wrong.
    """
    split = question.split()
    template = _template(question, split)
    policies = _policies(question, template, say)
    out.mkdir(parents=True, exist_ok=True)
    budget = question.task.objective.violation_budget
    with Sweep(out / "runs", processes) as sweep:
        oracle = Oracle(template, sweep, say) if ORACLE in policies else None
        resolved = []
        for policy in policies:
            found = (
                Resolved(ORACLE, ORACLE) if policy == ORACLE else resolve(policy, template, split, sweep, say)
            )
            if found.calibration:
                say(str(found))
            resolved.append(found)
        if oracle:
            oracle.run_within([(seed, budget) for seed in range(question.seeds)])
        runs = [run for one in resolved for run in _runs(one, template, question.seeds, oracle)]
        finished: list[Run] = []

        def done(run: Run) -> None:
            finished.append(run)
            say(f"judged {run.label}, seed {run.seed} ({len(finished)} of {len(runs)})")

        outcomes = sweep.outcomes(runs, done)
        table = make_table([outcome.row for outcome in outcomes])
        if oracle:
            _add_regret(table, oracle)
        oracle_points = oracle.front(0, budget) if oracle else ()
    timelines = {
        run.label: outcome.timeline for run, outcome in zip(runs, outcomes, strict=True) if run.seed == 0
    }
    findings = Findings(
        task=question.task,
        table=table,
        resolved=resolved,
        timelines=timelines,
        hpa_points=next(
            (one.calibration.tried for one in resolved if one.label == "hindsight-hpa" and one.calibration),
            (),
        ),
        oracle_points=oracle_points,
        bound_curve=oracle.bound_curve(0, float(table["slo_violation_ratio"].max())) if oracle else (),
        bounds_usd=tuple(oracle.bound_usd(seed, budget) for seed in range(question.seeds)) if oracle else (),
        warnings=_warnings(question, split, table),
        provenance=_provenance(question, split, resolved, table),
    )
    if _is_of_another_question(out / "results.csv", table):
        say(f"{out}: the results of another task or another part of a trace are replaced")
    with ExitStack() as stack:  # all four are written before the first takes its name
        names = ("results.csv", "results.parquet", "report.html", "plane.png")
        csv, parquet, page, plane = (stack.enter_context(whole_file(out / name)) for name in names)
        write_table(table, csv, parquet)
        write_report(findings, page)
        write_plane(findings, plane)
    return findings


def check_question(question: Question) -> None:
    """Check all that can be wrong before anything runs.

    Raises:
        InputError: if a policy or the trace's part is wrong.
    """
    _policies(question, _template(question, question.split()), lambda _: None)


def _template(question: Question, split: Split) -> Run:
    return Run(question.task, split.judged, split.history, BASELINE, BASELINE, 0)


def _policies(question: Question, template: Run, say: Callable[[str], None]) -> list[str]:
    """What is judged, the baseline and, where it can be had, the oracle among it; all of it checked."""
    if not template.judged.requests.any():
        msg = (
            f"{question.trace.name}: no requests in the judged part, so that nothing can be judged; choose "
            "another part with --start and --duration"
        )
        raise InputError(msg)
    for policy in dict.fromkeys(question.policies):
        if question.policies.count(policy) > 1:
            say(f"{policy} is given more than once and judged once")
    added = (ORACLE,) if question.oracle and not why_not(question.task) else ()
    policies = list(dict.fromkeys((*question.policies, BASELINE, *added)))
    for policy in policies:
        check_policy(policy, template)
    return policies


def _runs(resolved: Resolved, template: Run, seeds: int, oracle: Oracle | None) -> list[Run]:
    """The judged runs of a policy, one a seed; the oracle's are what it found best within the budget."""
    if oracle and resolved.label == ORACLE:
        return [oracle.chosen(seed, template.task.objective.violation_budget) for seed in range(seeds)]
    return runs_of(resolved, template, seeds)


def _add_regret(table: pd.DataFrame, oracle: Oracle) -> None:
    """Fill in ``regret_to_oracle``, each run's against the oracle of its seed at its own violations."""
    met = list(
        zip(
            table["seed"].tolist(),
            table["slo_violation_ratio"].tolist(),
            table["cost_usd"].tolist(),
            strict=True,
        )
    )
    oracle.run_within([(seed, ratio) for seed, ratio, _ in met if ratio <= MOST_RATIO])
    table["regret_to_oracle"] = [oracle.regret(seed, ratio, usd) for seed, ratio, usd in met]


def _is_of_another_question(path: Path, table: pd.DataFrame) -> bool:
    """Whether a table of results is there that was judged on something else."""
    if not path.is_file():
        return False
    columns = ["task", "trace_sha256", "start_s", "duration_s"]
    try:
        before = pd.read_csv(path, usecols=columns, dtype={"trace_sha256": str}, keep_default_na=False)
    except (OSError, ValueError):
        return True
    return set(before.itertuples(index=False, name=None)) != set(
        table[columns].itertuples(index=False, name=None)
    )


def _warnings(question: Question, split: Split, table: pd.DataFrame) -> list[str]:
    warnings = []
    if split.coarse:
        warnings.append(
            f"The trace has bins of {question.trace.bin_seconds:g} s: too coarse to speak of seconds. The load between "
            "them is interpolated, so short bursts that a real service would meet are missing here."
        )
    lacks = why_not(question.task)
    if question.oracle and lacks:
        warnings.append(f"No oracle, so regret_to_oracle is empty: {lacks}.")
    if question.seeds < FEWEST_SEEDS:
        warnings.append("Fewer than five seeds: the intervals say little.")
    if len(set(table["policy"])) > 1 and not table["scale_events"].any():
        warnings.append(
            "No policy ever scaled: this load does not tell them apart. --mean-rps gives the trace's shape "
            "another level."
        )
    return warnings


def _provenance(
    question: Question, split: Split, resolved: list[Resolved], table: pd.DataFrame
) -> list[tuple[str, str]]:
    settings = table.drop_duplicates("policy").set_index("policy")["policy_settings"]
    return [
        ("setpoint", metadata.version("setpoint")),
        ("trace", f"{question.trace.name}, sha256 {question.trace.sha256 or 'none'}"),
        ("counts multiplied by", f"{split.factor:.6g}"),
        *((f"policy {one.label}", str(settings[one.label])) for one in resolved),
    ]
