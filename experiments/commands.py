"""What the commands do: input checked first, then work, then output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from agents.bundle import SUFFIX
from controllers.loop import Record
from envs.task import Task, load_task
from experiments.cli_options import MOST_SECONDS
from experiments.interruption import Interrupted
from experiments.oracle import ORACLE
from experiments.outputs import check_file
from experiments.parts import check_mean, split_part
from experiments.recipes import Resolved, check_policy, resolve
from experiments.run import Run
from simulator.errors import InputError
from simulator.files import whole_file
from simulator.trace import Split, Trace, read_trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agents.bundle import Bundle
    from agents.learn.checkpoint import Checkpoint
    from agents.learn.training import Plan
    from agents.learn.training import Progress as Trained

_PLAIN_WIDTH = 120
_ROUNDING = 1e-9
_DRAWN = 0x10AD
"""Sets the load's randomness apart from that of runs with the same seed."""
CONSOLE = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
STATUS = Console(
    stderr=True, highlight=False, markup=False, width=None if sys.stderr.isatty() else _PLAIN_WIDTH
)


@dataclass(frozen=True, slots=True)
class Part:
    """A task and the part of a trace that a command is about."""

    task: str
    trace: Path | None
    start: float | None
    duration: float | None
    mean_rps: float | None

    def load(self, seed: int = 0) -> tuple[Task, Split]:
        """The task and the split trace, drawn by the seed from the task's workload where none is given."""
        task = load_task_and_warn(self.task)
        if self.trace is not None:
            return task, split_part(load_trace(self.trace), self.start, self.duration, self.mean_rps)
        start = self.start or 0.0
        duration = task.judged_seconds if self.duration is None else self.duration
        if not 0 <= start <= MOST_SECONDS:
            msg = (
                f"--start {start:.10g}: must be 0 to {MOST_SECONDS:.10g} where the load is drawn from the "
                "task's workload"
            )
            raise InputError(msg)
        rng = np.random.default_rng(np.random.SeedSequence([seed, _DRAWN]))
        drawn = task.scenario.workload.draw(start + duration, rng)
        return task, split_part(drawn, start, duration, self.mean_rps)


def load_task_and_warn(name: str) -> Task:
    """A task; says which pods its nodes can never hold."""
    task = load_task(name)
    for shortage in task.scenario.shortages():
        STATUS.print(f"warning: {shortage}")
    return task


def load_trace(path: str | Path, *, gaps: bool = False) -> Trace:
    """A trace; says what was left out of its file."""
    trace = read_trace(path, gaps=gaps)
    if trace.origin and trace.origin.warning:
        STATUS.print(f"warning: {trace.origin.warning}")
    return trace


def check_png(path: Path) -> None:
    """Check, before work, that a picture can be written there.

    Raises:
        InputError: if its name has another ending, or it cannot be a file.
    """
    if path.suffix != ".png":
        msg = f"--png {path}: a picture's name ends in .png"
        raise InputError(msg)
    check_file("--png", path)


def settle(policy: str, task: Task, split: Split, seed: int, folder: Path) -> Resolved:
    """The policy to run; a recipe's search keeps its runs in the folder."""
    from experiments.sweep import Sweep

    template = Run(task, split.judged, split.history, policy, policy, seed)
    check_policy(policy, template)
    with Sweep(folder / ".setpoint-runs") as sweep:
        return resolve(policy, template, split, sweep, STATUS.print)


@dataclass(frozen=True, slots=True)
class Training:
    """How a policy is to be trained.

    Attributes:
        steps: None for what suits the engine.
        engine: ``auto``, ``batch`` or ``request``.
        fresh: begin anew, whatever a stopped training has left.
    """

    agent: str
    steps: int | None
    seed: int
    engine: str = "auto"
    fresh: bool = False


def train(part: Part, training: Training, out: Path) -> None:
    """``setpoint train``."""
    _check_choice("--agent", training.agent, ("ppo",))
    _check_choice("--engine", training.engine, ("auto", "batch", "request"))
    if out.suffix != SUFFIX:
        msg = f"--out {out}: a bundle's name ends in {SUFFIX}"
        raise InputError(msg)
    task = load_task_and_warn(part.task)
    trace = training_part(part, task)
    check_file("--out", out)
    from agents.learn import training as learning
    from agents.learn.ppo import DEFAULTS

    learning.check_trainable(task)
    engine = _engine(training.engine, task, trace)
    steps = training.steps or learning.STEPS[engine]
    plan = learning.Plan(task, trace, steps, training.seed, DEFAULTS[engine], engine)
    begun = None if training.fresh else learning.find_checkpoint(plan, out)
    if begun:
        STATUS.print(f"going on from step {begun.steps}, where {out} was stopped")
    again = "the same command without --fresh" if training.fresh else "the same command"
    with _told_of_interruption(out, again) as kept:
        bundle = _learn(plan, out, begun, kept)
    CONSOLE.print(f"trained for {bundle.provenance['steps']} steps: {out}")


def _check_choice(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        msg = f"{option} {value!r} is unknown; there are: {', '.join(allowed)}"
        raise InputError(msg)


def _engine(asked: str, task: Task, trace: Trace | None) -> str:
    """The engine to train on; says why where it is the slow one and nobody asked for that.

    Raises:
        InputError: if the batch engine is asked for and does not model the task.
    """
    from agents.learn import training as learning

    if asked == "request":
        return learning.REQUEST
    try:
        learning.check_batch(task, trace)
    except InputError as error:
        if asked == "batch":
            msg = f"--engine batch: {error} (--engine request)"
            raise InputError(msg) from None
        STATUS.print(f"training on the request engine, since {error}")
        return learning.REQUEST
    return learning.BATCH


def _learn(plan: Plan, out: Path, begun: Checkpoint | None, kept: Callable[[int], None]) -> Bundle:
    """Train with progress on the screen and in MLflow; ``kept`` hears which step the file holds."""
    from agents.learn import training as learning
    from experiments.tracking import track

    parameters = {
        "agent": "ppo",
        "engine": plan.engine,
        "task": plan.task.name,
        "steps": plan.steps,
        "seed": plan.seed,
        "begun_at_step": begun.steps if begun else 0,
        **plan.settings.model_dump(),
    }
    kept(begun.steps if begun else 0)
    store = out.parent / "mlflow.db"
    with track("setpoint", parameters, store) as log, bar("training ppo", lines=True) as update:

        def report(progress: Trained) -> None:
            kept(progress.steps)
            reward = progress.reward_per_step
            text = "" if np.isnan(reward) else f"reward {reward:.2f} a step"
            update(progress.steps / plan.steps, text)
            log({"reward_per_step": progress.reward_per_step, **progress.losses}, progress.steps)

        return learning.train(plan, out, report, begun)


@contextmanager
def _told_of_interruption(out: Path, again: str) -> Iterator[Callable[[int], None]]:
    """Ctrl-C says which policy the file holds, of which it is told; an older run's file is none of this one's."""
    steps = 0

    def keep(at: int) -> None:
        nonlocal steps
        steps = at

    try:
        yield keep
    except KeyboardInterrupt:
        if steps:
            text = f"interrupted at step {steps}: {out} holds the policy of step {steps}; {again} goes on from there"
        else:
            there = "as it was" if out.exists() else "not there yet"
            text = f"interrupted before the first update: {out} is {there}; the same command begins anew"
        raise Interrupted(text) from None


def training_part(part: Part, task: Task) -> Trace | None:
    """The part of a trace to train on, scaled by its own mean; None without a trace.

    Raises:
        InputError: if it is not within the trace, shorter than an episode, or without requests, or a part is asked for
            of no trace.
    """
    check_mean(part.mean_rps)
    if part.trace is None:
        for option, value in (
            ("--start", part.start),
            ("--duration", part.duration),
            ("--mean-rps", part.mean_rps),
        ):
            if value is not None:
                msg = f"{option} {value:.10g}: only with --trace; episodes are drawn from the task's workload"
                raise InputError(msg)
        return None
    trace = load_trace(part.trace)
    start = trace.start_seconds if part.start is None else part.start
    chosen = trace.slice(start, part.duration or trace.end_seconds - start)
    if chosen.duration_seconds < task.horizon_seconds:
        msg = (
            f"{trace.name}: the part to train on has {chosen.duration_seconds:g} s; "
            f"an episode of task {task.name} needs {task.horizon_seconds:g} s"
        )
        raise InputError(msg)
    if not chosen.requests.any():
        msg = f"{trace.name}: no requests in the part to train on; choose another with --start and --duration"
        raise InputError(msg)
    return chosen if part.mean_rps is None else chosen.scale(part.mean_rps / chosen.mean_rps)


def rehearse(part: Part, policy: str, seed: int, log: Path | None) -> None:
    """``setpoint control rehearse``."""
    if policy == ORACLE:
        msg = f"policy {ORACLE}: it knows the future, so no control loop can run it; setpoint simulate and evaluate do"
        raise InputError(msg)
    task, split = part.load()
    check_policy(policy, Run(task, split.judged, split.history, policy, policy, seed))
    if log:
        check_file("--log", log)
    found = settle(policy, task, split, seed, log.parent if log else Path())
    from experiments.rehearsal import rehearse as run

    def line(record: Record) -> str:
        return json.dumps(record.to_json(), allow_nan=False)

    if log is None:
        measures = run(task, split, found.policy, seed, lambda record: print(line(record)))  # noqa: T201 - the output
    else:
        with whole_file(log) as partial, partial.open("w", encoding="utf-8") as file:
            measures = run(task, split, found.policy, seed, lambda record: print(line(record), file=file))
    if found.calibration:
        STATUS.print(str(found))
    STATUS.print(
        f"{policy}: {measures['cost_usd']:.4g} USD, {measures['slo_violation_ratio']:.3%} violations, "
        f"{measures['scale_events']:.0f} scale events"
    )


@contextmanager
def bar(title: str, *, lines: bool = False) -> Iterator[Callable[..., None]]:
    """A progress bar; without a terminal nothing or, for long work, a line about every tenth of it."""
    if lines and not STATUS.is_terminal:
        yield tenths(title, STATUS.print)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=STATUS, transient=True) as progress:
        job = progress.add_task(title, total=1.0)

        def update(share: float, text: str = "") -> None:
            progress.update(
                job, completed=float(np.clip(share, 0, 1)), description=f"{title}  {text}".rstrip()
            )

        yield update


def tenths(title: str, say: Callable[[str], None]) -> Callable[..., None]:
    """Takes the share of work that is done, and says every tenth of it."""
    told = 0

    def update(share: float, text: str = "") -> None:
        nonlocal told
        tenths = int(10 * np.clip(share, 0, 1) + _ROUNDING)
        if tenths > told:
            told = tenths
            say(f"{title}: {10 * tenths} %{', ' if text else ''}{text}")

    return update


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """Takes what goes on: a line that changes, or one after another without a terminal."""
    if not STATUS.is_terminal:
        yield STATUS.print
        return
    with STATUS.status("starting") as status:
        yield status.update
