"""``setpoint calibrate``: a rule's best settings on a part of a trace, with all that were tried."""

from __future__ import annotations

import csv
import shlex
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from agents.registry import RULES
from agents.space import Point, Space
from experiments.calibrate import SPACES, Calibration, Search, calibrate
from experiments.commands import CONSOLE, STATUS, Part, load_task_and_warn, status, tenths
from experiments.engines import TRIAL_SEEDS
from experiments.figures import INK, LIMIT, LOAD, READY, plain, plain_axes, save_figure
from experiments.manifests import DOCUMENTS, manifest_of, scaled_by
from experiments.outputs import check_folder
from experiments.recipes import SEED
from experiments.run import Run
from experiments.sweep import Sweep
from experiments.trials import why_not
from experiments.tried import Tried, front, thin
from experiments.wording import duration, percent, plain_number
from simulator.errors import InputError
from simulator.files import whole_file
from simulator.trace import COARSE_BIN_SECONDS, Trace

ENGINES = ("batch", "request")
_MOST_OF_FRONT = 12
_SHOWN_BUDGETS = 30
"""Violations of more budgets are not drawn."""
_MOST_DECADES, _FEW_DECADES = 3.0, 0.4
"""Of the axis of violations, where more than the powers of ten have labels, and where as many do as fit."""
CSV_NAME, PNG_NAME = "calibration.csv", "calibration.png"


@dataclass(frozen=True, slots=True)
class Row:
    """Settings of the space, and what they came to.

    Attributes:
        label: the settings for people.
        values: the settings along the space's axes; empty for the rule's defaults, where no point stands for them.
        figures: on each of ENGINES; None where they were not run.
        on_front: whether no other settings are better in cost and violations, on the engine that tried most.
        chosen: whether these are the ones to take.
    """

    spec: str
    label: str
    values: Point
    figures: tuple[Tried | None, Tried | None]
    on_front: bool
    chosen: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command is asked for.

    Attributes:
        policy: the rule.
        budget: most violations, as a share of the requests; the task's if None.
        margin: as of a Search.
        deployment: what is scaled, in the YAML; the service's name if None.
        whole: whether the request engine runs all of a part that is longer than a day.
    """

    policy: str
    budget: float | None = None
    margin: float = 0.0
    deployment: str | None = None
    namespace: str = "default"
    whole: bool = False


def calibrate_rule(part: Part, wanted: Wanted, out: Path, processes: int | None) -> Calibration:
    """Search, print, and write ``calibration.csv``, ``calibration.png`` and a manifest to a folder.

    Runs are kept in ``out/runs``. The manifest is ``RULE.yaml``, of a rule that Kubernetes has an object for.

    Raises:
        InputError: before anything is run, if an option is wrong or there are no requests.
    """
    space, budget = space_of(wanted.policy), wanted.budget
    if budget is not None and not 0 < budget < 1:
        msg = f"--budget {budget:g}: must be a share of the requests over 0 and below 1, such as 0.01"
        raise InputError(msg)
    if not 0 <= wanted.margin < 1:
        msg = f"--margin {wanted.margin:g}: must be a share of 0 or more and below 1, such as 0.5"
        raise InputError(msg)
    check_folder("--out", out)
    task, split = part.load(SEED)
    scaled = scaled_by(task.scenario, wanted.deployment, wanted.namespace)
    if not split.judged.requests.any():
        msg = f"{split.judged.name}: no requests in the part; choose another with --start and --duration"
        raise InputError(msg)
    budget = task.objective.violation_budget if budget is None else budget
    template = Run(task, split.judged, split.history, space.name, space.name, SEED)
    search = Search(template, space, budget, margin=wanted.margin, by_day=not wanted.whole)
    if split.coarse and part.trace is not None:
        STATUS.print(
            f"warning: {split.judged.name} has bins of over {COARSE_BIN_SECONDS:g} s: the load between them is "
            "interpolated, and bursts that a service would meet are missing; leave a margin"
        )
    if unmodelled := why_not(task):
        STATUS.print(f"task {task.name}: {unmodelled}, one setting after another and fewer of them")
    out.mkdir(parents=True, exist_ok=True)
    with status() as say, Sweep(out / "runs", processes) as sweep:
        found = calibrate(search, sweep, say, tenths("on the batch engine", say))
    rows = rows_of(found, space)
    with whole_file(out / CSV_NAME) as partial:
        write_rows(rows, space, partial)
    of_day = "; on the request engine the hardest 24 h of it" if found.day else ""
    title = f"{space.name} on {_of(split.judged)}{of_day}"
    draw_calibration(rows, (budget, found.limit), title, out / PNG_NAME)
    _print(found, rows, search)
    CONSOLE.print(f"all that was tried: {out / CSV_NAME}    picture: {out / PNG_NAME}")
    for rule in DOCUMENTS:
        (out / f"{rule}.yaml").unlink(missing_ok=True)
    over = "" if found.within_budget else _over(found.chosen, budget)
    _write_manifest(manifest_of(found.chosen.spec, scaled, over), out / f"{space.name}.yaml")
    return found


def print_manifest(policy: str, task: str, deployment: str | None, namespace: str) -> None:
    """``setpoint manifest``.

    Raises:
        InputError: if the policy is none that Kubernetes has an object for, or a setting or a name is wrong.
    """
    manifest = manifest_of(policy, scaled_by(load_task_and_warn(task).scenario, deployment, namespace))
    if manifest is None:
        msg = f"policy {policy!r}: Kubernetes has no object for it; there are: {', '.join(DOCUMENTS)}"
        raise InputError(msg)
    CONSOLE.print(manifest, end="", soft_wrap=True)


def _write_manifest(manifest: str | None, path: Path) -> None:
    if manifest is None:
        return
    with whole_file(path) as partial:
        partial.write_text(manifest, encoding="utf-8")
    CONSOLE.print(f"\nkubectl apply -f {path}\n")
    CONSOLE.print(manifest, end="", soft_wrap=True)


def _over(chosen: Tried, budget: float) -> str:
    ratio = percent(chosen.slo_violation_ratio, budget)
    return f"It breaks the budget: {ratio} % of the requests violate the SLO, {percent(budget)} % may."


def space_of(policy: str) -> Space:
    """What is searched of a rule.

    Raises:
        InputError: naming what there is, if there is nothing to search.
    """
    if policy in SPACES:
        return SPACES[policy]
    why = " (it does not change replicas, which is all that is tried)" if policy in RULES else ""
    msg = f"--policy {policy!r} has no settings to search{why}; there are: {', '.join(SPACES)}"
    raise InputError(msg)


def rows_of(found: Calibration, space: Space) -> list[Row]:
    """All that was tried on either engine, by place in the space, each spec once."""
    batch, request = ({tried.spec: tried for tried in many} for many in (found.batch, found.tried))
    best = {tried.spec for tried in front(found.batch or found.tried)}
    points = {tried.spec: tried.point for tried in (*found.batch, *found.tried)}
    return [
        Row(
            spec,
            space.label(point),
            point,
            (batch.get(spec), request.get(spec)),
            spec in best,
            spec == found.chosen.spec,
        )
        for spec, point in sorted(points.items(), key=lambda item: item[1])
    ]


def write_rows(rows: list[Row], space: Space, path: Path) -> None:
    """The rows as CSV: the settings, cost and violation ratio on each engine, on the front, chosen.

    The policy is its name where the columns after it are its settings, else its whole spec.
    """
    measures = ("cost_usd", "slo_violation_ratio")
    header = ["policy", *space.axes, *(f"{name}_{engine}" for engine in ENGINES for name in measures)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*header, "front", "chosen"])
        for row in rows:
            numbers = [
                "" if tried is None else f"{getattr(tried, name):.6g}"
                for tried in row.figures
                for name in measures
            ]
            flags = [str(flag).lower() for flag in (row.on_front, row.chosen)]
            values = row.values or [""] * len(space.axes)
            policy = space.name if space.is_plain else row.spec
            writer.writerow([policy, *values, *numbers, *flags])


def draw_calibration(rows: list[Row], limits: tuple[float, float], title: str, path: Path) -> None:
    """Cost against violations of all that was tried, and what was chosen, as a PNG file.

    Args:
        limits: the budget, and the most violations of what may be chosen.
    """
    from matplotlib.ticker import LogFormatter

    figure, (axes,) = plain_axes(1)
    figure.set_size_inches(11, 6)
    for engine, color, size in ((0, LOAD, 12), (1, READY, 26)):
        found = [tried for row in rows if (tried := row.figures[engine]) is not None]
        if found:
            late = [100 * tried.slo_violation_ratio for tried in found]
            cost = [tried.cost_usd for tried in found]
            label = f"{len(found)} settings on the {ENGINES[engine]} engine"
            axes.scatter(late, cost, s=size, color=color, linewidth=0, label=label, zorder=2 + engine)
    engine = 0 if any(row.figures[0] for row in rows) else 1
    curve = front(tuple(tried for row in rows if (tried := row.figures[engine]) is not None))
    axes.plot(
        [100 * tried.slo_violation_ratio for tried in curve],
        [tried.cost_usd for tried in curve],
        color=LOAD,
        linewidth=1,
        label=f"front on the {ENGINES[engine]} engine",
    )
    label, chosen = next((row.label, tried) for row in rows if row.chosen and (tried := row.figures[1]))
    place = (100 * chosen.slo_violation_ratio, chosen.cost_usd)
    axes.scatter(*place, s=130, marker="*", color=INK, linewidth=0, label=f"chosen: {plain(label)}", zorder=4)
    budget, limit = limits
    axes.axvline(100 * budget, color=LIMIT, linewidth=1, linestyle="--", label=f"budget, {percent(budget)} %")
    if limit < budget:
        label = f"budget less the margin, {percent(limit)} %"
        axes.axvline(100 * limit, color=LIMIT, linewidth=1, linestyle=":", label=label)
    axes.set(xscale="log", xlabel="requests violating the SLO, % (log)", ylabel="cost, USD")
    axes.set_ylim(bottom=0)
    axes.set_xlim(right=min(axes.get_xlim()[1], max(100 * _SHOWN_BUDGETS * budget, 2 * place[0])))
    axes.xaxis.set_major_formatter(lambda value, _: plain_number(value, 4))
    sparse = LogFormatter(labelOnlyBase=False, minor_thresholds=(_MOST_DECADES, _FEW_DECADES))
    sparse.set_axis(axes.xaxis)
    sparse.set_locs()
    axes.xaxis.set_minor_formatter(lambda value, _: plain_number(value, 4) if sparse(value) else "")
    axes.tick_params(axis="x", which="both", length=3)
    axes.set_title(plain(title), loc="left")
    axes.legend(loc="upper right", frameon=False)
    save_figure(figure, path)


def _print(found: Calibration, rows: list[Row], search: Search) -> None:
    judged = search.template.judged
    CONSOLE.print(f"part: {_of(judged)}, {plain_number(judged.mean_rps, 4)} requests/s on average")
    CONSOLE.print(f"search space of {search.space}")
    if found.batch:
        CONSOLE.print(
            f"{sum(row.figures[0] is not None for row in rows)} settings x {TRIAL_SEEDS} seeds on the batch engine; "
            f"{sum(row.figures[1] is not None for row in rows)} of them on the request engine, which decides"
        )
    else:
        CONSOLE.print(f"{len(found.tried)} settings on the request engine")
    if found.day is not None:
        CONSOLE.print(
            f"the request engine ran the hardest 24 h, from {plain_number(found.day.start_seconds)} s; in its figures "
            "the rest is the batch engine's (--whole runs that, too)",
            soft_wrap=True,
        )
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("settings", overflow="fold")
    for title in ("batch: USD", "violations, %", "request: USD", "violations, %"):
        table.add_column(title, justify="right")
    table.add_column("")
    kept = {tried.spec for tried in thin(front(found.batch or found.tried), _MOST_OF_FRONT)}
    for row in sorted(rows, key=_cost):
        if row.spec in kept or row.figures[1]:
            mark = "chosen" if row.chosen else "front" if row.on_front else ""
            table.add_row(
                row.label, *(text for tried in row.figures for text in _texts(tried, search.budget)), mark
            )
    CONSOLE.print(table)
    chosen = found.chosen
    CONSOLE.print(
        f"chosen: {shlex.quote(chosen.spec)}: {_said(chosen, search.budget)}, {_verdict(found, search)}",
        soft_wrap=True,
    )
    if found.default is not None and found.default.spec != chosen.spec:
        CONSOLE.print(f"its defaults, {search.space.name}: {_said(found.default, search.budget)}")


def _verdict(found: Calibration, search: Search) -> str:
    budget, limit = f"the budget of {percent(search.budget)} %", f"{percent(found.limit)} %"
    if found.limit > search.budget:
        return f"no settings keep {budget}: these are the cheapest with about the fewest violations, {limit} at most"
    if not found.within_budget:
        return f"over {budget} on the request engine, where none of those that were run keeps it"
    if not search.margin:
        return f"within {budget}"
    return (
        f"within {limit}, which leave the margin"
        if found.chosen.slo_violation_ratio <= found.limit
        else f"within {budget}"
    )


def _said(tried: Tried, budget: float) -> str:
    return f"{plain_number(tried.cost_usd, 4)} USD, {percent(tried.slo_violation_ratio, budget)} % violations"


def _cost(row: Row) -> float:
    return next(tried.cost_usd for tried in row.figures if tried is not None)


def _texts(tried: Tried | None, budget: float) -> tuple[str, str]:
    if tried is None:
        return "", ""
    return plain_number(tried.cost_usd, 4), percent(tried.slo_violation_ratio, budget)


def _of(part: Trace) -> str:
    return f"{duration(part.duration_seconds)} of {part.name} from {plain_number(part.start_seconds)} s"
