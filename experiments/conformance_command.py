"""``setpoint conformance``: both engines on a grid, what was reached, and what is off where it was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from rich.table import Table

from agents.registry import make
from envs.task import Task, load_task
from experiments.commands import CONSOLE, STATUS, bar, load_trace
from experiments.conformance import (
    HPA_TARGETS,
    MADE_LOADS,
    SEEDS_AGAIN,
    Cell,
    World,
    compare,
    given_load,
    grid,
    made_load,
)
from experiments.outputs import check_folder
from experiments.recipes import RECIPES, check_policy
from experiments.run import Run, make_context
from experiments.sweep import Sweep
from experiments.verdict import Bound, Verdict, judge, write_table
from simulator.errors import InputError
from simulator.flow.support import check_supported
from simulator.settings import is_whole_multiple
from simulator.trace import Trace

_WORST_SHOWN = 8
_MECHANISMS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared.

    Attributes:
        policies: specs or bundles' paths; HPA's targets if there are none.
        start_seconds: where the part of each trace starts; its beginning if None.
    """

    task: str
    grid: str
    traces: tuple[Path, ...]
    policies: tuple[str, ...]
    seeds: int
    hours: int
    start_seconds: float | None

    def loads(self, task: Task) -> dict[str, Trace]:
        """All loads by name, those of traces by their file's.

        Raises:
            InputError: if two have the same name, a trace has no such part, or a part is asked for of no trace.
        """
        if self.start_seconds is not None and not self.traces:
            msg = f"--start {self.start_seconds:.10g}: only with --trace; made loads have no part"
            raise InputError(msg)
        mean = task.scenario.workload.mean_rps
        loads = {name: made_load(name, mean, self.hours) for name in MADE_LOADS}
        for path in self.traces:
            if path.name in loads:
                msg = (
                    f"--trace {path}: there is a load called {path.name} already; give the file another name"
                )
                raise InputError(msg)
            loads[path.name] = given_load(load_trace(path), mean, self.hours, self.start_seconds)
        return loads


def conformance(comparison: Comparison, out: Path, processes: int | None) -> bool:
    """``setpoint conformance``; whether all bounds are kept.

    Raises:
        InputError: before anything runs, if the task is not modelled, or a policy, a trace or the grid is wrong.
    """
    task = load_task(comparison.task)
    check_supported(task.scenario)
    check_folder("--out", out)
    loads = comparison.loads(task)
    worlds = grid(comparison.grid, task, [path.name for path in comparison.traces])
    policies = tuple(dict.fromkeys(comparison.policies)) or HPA_TARGETS
    _check_policies(policies, [world.task(task) for world in worlds], loads["sine"])
    cells = _compare(comparison, task, worlds, loads, policies, out, processes)
    verdict = judge(cells, task.objective.violation_budget)
    write_table(cells, out / "conformance.csv")
    from experiments.conformance_figure import draw_conformance

    title = f"Task {task.name}: batch engine against request engine, {len(worlds)} worlds, {len(cells)} cells"
    draw_conformance(cells, title, out / "conformance.png")
    _print(verdict, cells)
    CONSOLE.print(f"cells: {out / 'conformance.csv'}    picture: {out / 'conformance.png'}")
    return verdict.passes


def _check_policies(policies: Sequence[str], tasks: Sequence[Task], load: Trace) -> None:
    """Refuse a policy that one of the worlds does not take, as a bundle does not where the slots differ."""
    for policy in policies:
        if policy in RECIPES:
            msg = f"--policy {policy} needs a search; give the settings it comes to, such as hpa:target=0.6"
            raise InputError(msg)
        for task in tasks:
            check_policy(policy, Run(task, load, None, policy, policy, 0))
        period = make(policy, make_context(tasks[0], None, 0)).period_seconds
        if not is_whole_multiple(load.duration_seconds, period):
            msg = (
                f"--policy {policy} decides every {period:g} s; "
                f"the runs' {load.duration_seconds:g} s must be whole periods"
            )
            raise InputError(msg)


def _compare(
    comparison: Comparison,
    task: Task,
    worlds: tuple[World, ...],
    loads: dict[str, Trace],
    policies: tuple[str, ...],
    out: Path,
    processes: int | None,
) -> list[Cell]:
    cells = len(worlds) * len(policies)
    total = cells * (comparison.seeds + 1)
    finished = 0
    out.mkdir(parents=True, exist_ok=True)
    with bar("both engines", lines=True) as update, Sweep(out / "runs", processes) as sweep:

        def advance(text: str) -> None:
            nonlocal finished
            if finished == total:
                STATUS.print(f"what is out of bounds is judged again, on {SEEDS_AGAIN} runs a cell")
            finished += 1
            update(finished / total, text)

        def done(run: Run) -> None:
            advance(f"request engine, {run.policy} on {run.judged.name}, seed {run.seed}")

        def compared(cell: Cell) -> None:
            advance(f"batch engine, {cell.policy} on {cell.world.load}")

        return compare(
            task,
            worlds,
            loads,
            sweep,
            policies=policies,
            seeds=comparison.seeds,
            done=done,
            compared=compared,
        )


def _print(verdict: Verdict, cells: list[Cell]) -> None:
    CONSOLE.print(_bounds_table(verdict.bounds))
    if again := sum(cell.seeds == SEEDS_AGAIN for cell in cells):
        CONSOLE.print(
            f"\n{again} of {len(cells)} cells are judged on {SEEDS_AGAIN} runs of the request engine."
        )
    if verdict.misses:
        CONSOLE.print(f"\n{len(verdict.misses)} of {len(cells)} cells are out of bounds, the worst:")
        CONSOLE.print(_misses_table(verdict.misses[:_WORST_SHOWN]))
    if verdict.misses and verdict.mechanisms:
        shown = list(verdict.mechanisms.items())[:_MECHANISMS_SHOWN]
        parts = ", ".join(f"{name} {share:.0%}" for name, share in shown)
        CONSOLE.print(f"\nmost are where (share of cells out of bounds): {parts}")
    CONSOLE.print(f"\nverdict: {_words(verdict)}")


def _words(verdict: Verdict) -> str:
    broken = [bound.name for bound in verdict.bounds if not bound.is_kept]
    if not broken:
        return "the batch engine keeps all bounds."
    return f"the batch engine does not keep: {'; '.join(broken)}."


def _bounds_table(bounds: Sequence[Bound]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("bound", "goal", "reached", "kept"):
        table.add_column(title, overflow="fold")
    for bound in bounds:
        table.add_row(bound.name, bound.goal, bound.reached, "yes" if bound.is_kept else "NO")
    return table


def _misses_table(misses: Sequence[Cell]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    axes = [field.name for field in fields(World)]
    for title in (*axes, "policy"):
        table.add_column(title.replace("_seconds", ", s").replace("_", "-"), overflow="fold")
    for title in ("violations, %", "batch", "cost", "CPU", "of the bound"):
        table.add_column(title, justify="right")
    for cell in misses:
        world = ["" if (value := getattr(cell.world, axis)) is None else f"{value}" for axis in axes]
        truth, found = (f"{100 * one:.3g}" for one in cell.violations)
        counted = truth if cell.is_counted else f"({truth})"
        errors = (f"{error:+.1%}" for error in cell.errors)
        table.add_row(*world, cell.policy, counted, found, *errors, f"{cell.excess:.1f} x")
    return table
