"""``setpoint forecast backtest``: forecasters judged on the last part of a trace, from one origin after another."""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from rich.table import Table

from agents.forecast.accuracy import MEDIAN_REPLICAS, Accuracy, measure, share_right_at_best
from agents.forecast.backtest import Backtest, Forecasts, roll
from agents.forecast.forecaster import Grid
from agents.forecast.registry import (
    CONTROL_SECONDS,
    CONTROL_SERVICES,
    DEFAULT,
    REFERENCE,
    check_forecaster,
    installed,
    make,
)
from agents.forecast.seasonal_naive import naive_error, season_of
from experiments.commands import CONSOLE, STATUS, load_trace, status, tenths
from experiments.outputs import check_folder
from experiments.pull import parse_duration
from experiments.run import Outcome, code_digest, trace_digest
from experiments.sweep import Sweep
from experiments.wording import duration as in_words
from experiments.wording import plain_number
from simulator.errors import InputError
from simulator.files import whole_file
from simulator.trace import Trace

CSV_NAME, PNG_NAME = "forecast.csv", "forecast.png"
_JUDGED_SECONDS, _JUDGED_SHARE = 7 * 86_400.0, 4
_LEAST_HISTORY = 8
_WHOLE = 1e-6
_ALL = "all"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, as it was written.

    Attributes:
        horizons: such as ``5m``.
        forecasters: names, or ``all``; the default one if empty.
        bin: width of the bins that are forecast; the shortest horizon if None.
        start: of the judged part, seconds on the trace's clock.
        duration: of the judged part, seconds.
    """

    trace: Path
    horizons: tuple[str, ...]
    forecasters: tuple[str, ...]
    bin: str | None
    start: float | None
    duration: float | None
    seed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done: a trace on the bins that are forecast, where judging begins, and how far ahead.

    Attributes:
        names: of the forecasters, seasonal naive first.
        season: in bins; 1 where the history shows none.
        scale: mean absolute error of the seasonal naive forecast within the history, requests/s.
        usual: the history's median rate in bins that had requests, requests/s.
    """

    trace: Trace
    backtest: Backtest
    grid: Grid
    names: tuple[str, ...]
    season: int
    scale: float
    usual: float

    def key(self, name: str) -> str:
        """SHA-256 of all that a forecaster's forecasts depend on, code included, in hexadecimal."""
        parts = ["forecast", code_digest(), trace_digest(self.trace), name]
        parts += [str(self.backtest.begin), str(self.backtest.horizons), str(self.grid)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Row:
    """One forecaster at one horizon.

    Attributes:
        against_naive: its mean absolute error over that of seasonal naive on the judged part.
        update_ms: mean milliseconds for an update and the forecast before it.
        slowest_ms: of the slowest of them.
        control: whether it is quick enough for a control loop.
        note: why a simpler one was at work.
    """

    forecaster: str
    horizon_s: float
    accuracy: Accuracy
    against_naive: float
    update_ms: float
    slowest_ms: float
    fit_s: float
    control: bool
    note: str


def backtest(question: Question, out: Path) -> list[Row]:
    """Forecast, print, and write ``forecast.csv`` and ``forecast.png`` to a folder; forecasts are kept in ``out/runs``.

    Raises:
        InputError: before anything is forecast, if an option is wrong.
    """
    check_folder("--out", out)
    plan = make_plan(question)
    found: dict[str, Forecasts] = {}
    with status() as say, Sweep(out / "runs") as sweep:
        for name in plan.names:
            found[name] = _forecasts(plan, name, sweep, say)
    rows = rows_of(plan, found)
    with whole_file(out / CSV_NAME) as partial:
        write_rows(rows, partial)
    from experiments.forecast_figure import draw_forecasts

    draw_forecasts(plan, found, best_of(rows, plan), out / PNG_NAME)
    _print(plan, rows)
    CONSOLE.print(f"numbers: {out / CSV_NAME}    picture: {out / PNG_NAME}")
    return rows


def make_plan(question: Question) -> Plan:
    """The question, checked and in bins.

    Raises:
        InputError: naming the option that is wrong.
    """
    names = _names(question.forecasters)
    wanted = [(text, _seconds("--horizon", text)) for text in question.horizons]
    raw = load_trace(question.trace, gaps=True)
    if missing := int(np.isnan(raw.requests).sum()):
        STATUS.print(f"{raw.name}: {missing} of {len(raw.requests)} counts are missing")
    trace = _binned(raw, question.bin, min(seconds for _, seconds in wanted))
    if trace is not raw and (missing := int(np.isnan(trace.requests).sum())):
        STATUS.print(
            f"{missing} of {len(trace.requests)} bins of {in_words(trace.bin_seconds)} have a gap in them"
        )
    horizons = sorted({_bins(text, seconds, trace) for text, seconds in wanted})
    begin, end = _judged(trace, question)
    if end - begin <= horizons[-1]:
        msg = (
            f"{trace.name}: the judged part has {end - begin} bins of {in_words(trace.bin_seconds)}, a horizon of "
            f"{in_words(horizons[-1] * trace.bin_seconds)} needs more than {horizons[-1]}; use a shorter --horizon"
        )
        raise InputError(msg)
    grid = Grid(trace.bin_seconds, horizons[-1], question.seed)
    rates = trace.rate_rps[:end]
    history = rates[:begin]
    known, judged = np.isfinite(history).sum(), np.isfinite(rates[begin:]).sum()
    if known < _LEAST_HISTORY or not judged:
        msg = (
            f"{trace.name}: {known} bins of history and {judged} judged ones are without gaps, in bins of "
            f"{in_words(trace.bin_seconds)}; at least {_LEAST_HISTORY} and 1 are needed: use a narrower --bin"
        )
        raise InputError(msg)
    season = season_of(history, grid)
    scale, busy = naive_error(history, season), history[history > 0]
    usual = float(np.median(busy)) if len(busy) else 0.0
    return Plan(trace, Backtest(rates, begin, tuple(horizons)), grid, names, season, scale, usual)


def rows_of(plan: Plan, found: dict[str, Forecasts]) -> list[Row]:
    """What there is to say of each forecaster at each horizon."""
    rows = []
    for place, horizon in enumerate(plan.backtest.horizons):
        naive = _mase(plan, found[REFERENCE], place)
        for name, forecasts in found.items():
            accuracy = _measured(plan, forecasts, place)
            mean, slowest = float(forecasts.seconds.mean()), float(forecasts.seconds.max())
            rows.append(
                Row(
                    name,
                    horizon * plan.grid.bin_seconds,
                    accuracy,
                    accuracy.mase / naive if naive > 0 else float("nan"),
                    1000 * mean,
                    1000 * slowest,
                    forecasts.fit_seconds,
                    is_quick(mean, slowest),
                    forecasts.note,
                )
            )
    return rows


def is_quick(mean_seconds: float, slowest_seconds: float) -> bool:
    """Whether updates for a hundred services, the slowest one among them, are done within a control period."""
    return CONTROL_SERVICES * mean_seconds + slowest_seconds <= CONTROL_SECONDS


def best_of(rows: list[Row], plan: Plan) -> str:
    """The forecaster, not the reference where there is another, with the smallest MASE over all horizons."""
    others = [name for name in plan.names if name != REFERENCE] or [REFERENCE]
    return min(others, key=lambda name: sum(row.accuracy.mase for row in rows if row.forecaster == name))


def write_rows(rows: list[Row], path: Path) -> None:
    """The rows as CSV."""
    plain = [field.name for field in fields(Row) if field.name not in {"accuracy", "forecaster", "horizon_s"}]
    measures = [field.name for field in fields(Accuracy)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["forecaster", "horizon_s", *measures, *plain])
        for row in rows:
            cells = [row.forecaster, row.horizon_s, *asdict(row.accuracy).values()]
            cells += [getattr(row, name) for name in plain]
            writer.writerow([_cell(cell) for cell in cells])


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return str(value)


def _names(asked: tuple[str, ...]) -> tuple[str, ...]:
    named = installed() if _ALL in asked else asked or (DEFAULT,)
    for name in asked:
        if name != _ALL:
            check_forecaster(name)
    return tuple(dict.fromkeys((REFERENCE, *named)))


def _seconds(option: str, text: str) -> float:
    seconds = parse_duration(option, text)
    if not seconds > 0:
        msg = f"{option} is {text!r}; must be above 0"
        raise InputError(msg)
    return seconds


def _binned(trace: Trace, asked: str | None, shortest_seconds: float) -> Trace:
    """The trace in the bins that are forecast."""
    own = trace.bin_seconds
    if asked is not None:
        wanted = _seconds("--bin", asked)
        if wanted < own - _WHOLE or not _is_whole(wanted / own):
            msg = f"--bin is {asked!r}; must be a whole number of the trace's own bins of {in_words(own)}"
            raise InputError(msg)
    else:
        wanted = max(int(shortest_seconds / own + _WHOLE), 1) * own
    if wanted > trace.duration_seconds:
        msg = (
            f"{trace.name}: bins of {in_words(wanted)}, as wide as the shortest --horizon without --bin, in a trace of "
            f"{in_words(trace.duration_seconds)}; use a shorter --horizon or --bin"
        )
        raise InputError(msg)
    return trace if wanted == own else trace.resample(wanted)


def _bins(text: str, seconds: float, trace: Trace) -> int:
    """A horizon in bins; one that is shorter than a bin is one bin."""
    bins = seconds / trace.bin_seconds
    if bins < 1:
        STATUS.print(
            f"warning: bins of {in_words(trace.bin_seconds)} are wider than --horizon {text}: the next bin is forecast"
        )
        return 1
    if not _is_whole(bins):
        msg = (
            f"--horizon is {text!r}; must be a whole number of bins of {in_words(trace.bin_seconds)} (--bin)"
        )
        raise InputError(msg)
    return round(bins)


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) < _WHOLE


def _judged(trace: Trace, question: Question) -> tuple[int, int]:
    """First and last bin, exclusive, of the judged part."""
    bins, width = len(trace.requests), trace.bin_seconds
    if question.start is None:
        begin = bins - min(round(_JUDGED_SECONDS / width), bins // _JUDGED_SHARE)
    else:
        place = (question.start - trace.start_seconds) / width
        if not np.isfinite(place) or not _LEAST_HISTORY <= place < bins:
            earliest = trace.start_seconds + _LEAST_HISTORY * width
            msg = (
                f"--start {question.start:.10g}: must be {earliest:.10g} s, which leaves {_LEAST_HISTORY} bins of "
                f"history, to before the end of {trace.name} at {trace.end_seconds:.10g} s"
            )
            raise InputError(msg)
        begin = int(np.ceil(place - _WHOLE))
    if begin < _LEAST_HISTORY:
        msg = f"{trace.name}: {bins} bins of {in_words(width)}; too few to forecast from"
        raise InputError(msg)
    end = bins if question.duration is None else min(begin + round(question.duration / width), bins)
    return begin, end


def _forecasts(plan: Plan, name: str, sweep: Sweep, say: Callable[[str], None]) -> Forecasts:
    """A forecaster's forecasts, or what is kept of them."""

    def work() -> Outcome:
        say(f"{name}: fitting")
        report = tenths(name, say)
        made = roll(plan.backtest, make(name, plan.grid), time.perf_counter, report)
        row = {"note": made.note, "fit_seconds": made.fit_seconds}
        return Outcome(row, {"quantiles": made.quantiles, "seconds": made.seconds})

    kept = sweep.kept(plan.key(name), work)
    return Forecasts(
        kept.timeline["quantiles"], kept.timeline["seconds"], kept.row["fit_seconds"], kept.row["note"]
    )


def _measured(plan: Plan, forecasts: Forecasts, place: int) -> Accuracy:
    return measure(*plan.backtest.pairs(forecasts, place), plan.scale, plan.usual)


def _mase(plan: Plan, forecasts: Forecasts, place: int) -> float:
    return _measured(plan, forecasts, place).mase


def _print(plan: Plan, rows: list[Row]) -> None:
    width, begin = plan.grid.bin_seconds, plan.backtest.begin
    judged = len(plan.backtest.judged)
    season = f"season {in_words(plan.season * width)}" if plan.season > 1 else "no season seen twice"
    CONSOLE.print(
        f"{plan.trace.name} in bins of {in_words(width)}: {in_words(begin * width)} of history, {season}; "
        f"{in_words(judged * width)} judged from {plain_number(plan.trace.start_seconds + begin * width)} s"
    )
    judged_rates = plan.backtest.judged[~np.isnan(plan.backtest.judged)]
    chance = share_right_at_best(judged_rates, judged_rates * width, plan.usual)
    CONSOLE.print(
        f"right: replicas within 10 %, where the history's median load takes {MEDIAN_REPLICAS}; "
        f"{_digits(100 * chance)} % if nothing but the chance of single arrivals were unforeseen"
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    titles = (
        "forecaster",
        "ahead",
        "MAPE, %",
        "sMAPE, %",
        "MASE",
        "x naive",
        "pinball",
        "in 90 %",
        "right, %",
    )
    for title in (*titles, "update, ms", "slowest", "control"):
        table.add_column(title, justify="left" if title == "forecaster" else "right", overflow="fold")
    for row in rows:
        table.add_row(*_texts(row))
    CONSOLE.print(table)
    for name in plan.names:
        note = next(row.note for row in rows if row.forecaster == name)
        if note:
            CONSOLE.print(f"{name}: {note}")


def _texts(row: Row) -> tuple[str, ...]:
    found = row.accuracy
    return (
        row.forecaster,
        in_words(row.horizon_s),
        *map(_digits, (100 * found.mape, 100 * found.smape, found.mase, row.against_naive, found.pinball)),
        *map(_digits, (100 * found.coverage, 100 * found.right)),
        plain_number(row.update_ms, 2),
        plain_number(row.slowest_ms, 2),
        "yes" if row.control else "too slow",
    )


def _digits(value: float) -> str:
    return "-" if np.isnan(value) else plain_number(value, 3)
