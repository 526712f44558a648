"""What ``setpoint traces fit``, ``sample`` and ``models`` do."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import yaml
from rich.table import Table

from experiments.commands import CONSOLE, check_png
from experiments.figures import draw_trace, draw_traces, terminal_chart
from experiments.outputs import check_file
from experiments.specs import make_settings
from experiments.trace_view import check_csv
from experiments.wording import duration, plain_number
from simulator.errors import InputError
from simulator.files import whole_file
from simulator.fitted import DAY_SECONDS, FittedModel
from simulator.fitting import fit_model
from simulator.generators import GENERATORS, Generator
from simulator.likeness import STATISTICS, Match, compare
from simulator.settings import parse_settings, read_text
from simulator.trace import Trace, read_trace, write_trace
from simulator.workload import WorkloadModel, load_model, model_names, parse_model

_LOOK_ALIKES = 20
_TABLE_WIDTH = 110
_KIND = re.compile(r"^kind: *(\w+)", re.MULTILINE)


def model_text(model: FittedModel) -> str:
    """A model's file; the same model gives the same text."""
    content = model.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(content, sort_keys=False, width=_TABLE_WIDTH, default_flow_style=None)


def fit(
    file: Path,
    name: str | None,
    source: str | None,
    first_weekday: int | None,
    out: Path | None,
    png: Path | None,
) -> None:
    """``setpoint traces fit``."""
    if out:
        _check_model(out)
    if png:
        check_png(png)
    trace = read_trace(file)
    model = fit_model(
        trace,
        name=name or file.name.partition(".")[0],
        source=source or file.name,
        first_weekday=first_weekday,
    )
    for line in describe(model):
        CONSOLE.print(line)
    matches = compare(trace, model, _LOOK_ALIKES)
    CONSOLE.print()
    CONSOLE.print(_match_table(matches))
    for line in warnings(matches):
        CONSOLE.print(line)
    drawn = model.look_alike(np.random.default_rng(0))
    for title, one in (("original", trace), ("a look-alike", drawn)):
        CONSOLE.print(f"\n{title}, requests/s, {duration(one.duration_seconds)} from left to right")
        CONSOLE.print(terminal_chart(one.rate_rps))
    if out:
        with whole_file(out) as partial:
            partial.write_text(model_text(model), encoding="utf-8")
        CONSOLE.print(f"\nmodel written to {out}")
    if png:
        draw_traces([(f"{trace.name}: the original", trace), ("a look-alike", drawn)], png)
        CONSOLE.print(f"drawn in {png}")


def sample(
    spec: str,
    duration_seconds: float | None,
    mean_rps: float | None,
    seed: int,
    out: Path | None,
    png: Path | None,
) -> None:
    """``setpoint traces sample``."""
    if out:
        check_csv("--out", out)
    if png:
        check_png(png)
    model = find_model(spec)
    trace = draw_sample(model, duration_seconds, mean_rps, np.random.default_rng(seed))
    rate = trace.rate_rps
    mean, lowest, highest = (plain_number(float(one), 4) for one in (rate.mean(), rate.min(), rate.max()))
    CONSOLE.print(
        f"{trace.name}: {len(rate)} bins of {plain_number(trace.bin_seconds)} s, "
        f"mean {mean}, lowest {lowest}, highest {highest} requests/s"
    )
    CONSOLE.print(terminal_chart(rate))
    if out:
        write_trace(trace, out)
        CONSOLE.print(f"written to {out}")
    if png:
        draw_trace(trace, png)
        CONSOLE.print(f"drawn in {png}")


def draw_sample(
    model: FittedModel | WorkloadModel | Generator,
    duration_seconds: float | None,
    mean_rps: float | None,
    rng: np.random.Generator,
) -> Trace:
    """One trace: whole counts in the original's bins from a fitted model, a rate from another.

    A fitted model's is as long and has the mean of its original if nothing else is asked for, another's
    is a day of 100 requests/s.
    """
    if isinstance(model, FittedModel):
        return model.look_alike(rng, duration_seconds, mean_rps)
    return model.draw(duration_seconds or DAY_SECONDS, mean_rps or 100.0, rng)


def list_models() -> None:
    """``setpoint traces models``."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("model", "what it looks like", "source"):
        table.add_column(column, overflow="fold")
    for name in model_names():
        model = load_model(name)
        table.add_row(name, _summary(model), model.source)
    CONSOLE.print(table)
    CONSOLE.print("\nMade workloads, as KIND or KIND:key=value,...")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("kind", "what it is", "settings"):
        table.add_column(column, overflow="fold")
    for kind, made in GENERATORS.items():
        fields = [
            f"{key}={_shown(field.default)}" for key, field in made.model_fields.items() if key != "kind"
        ]
        table.add_row(kind, (made.__doc__ or "").splitlines()[0], ", ".join(fields))
    CONSOLE.print(table)


def find_model(spec: str) -> FittedModel | WorkloadModel | Generator:
    """A model from a shipped one's name, a model file's path, or ``KIND:key=value,...``.

    Raises:
        InputError: if there is no such model, or a setting is wrong.
    """
    kind = spec.partition(":")[0]
    if kind in GENERATORS:
        return make_settings(spec, "workload", GENERATORS)
    if spec in model_names():
        return load_model(spec)
    if spec.endswith((".yaml", ".yml")) or "/" in spec:
        return _read_model(Path(spec))
    there = ", ".join((*model_names(), *GENERATORS))
    msg = f"workload model {spec!r} is unknown; there are: {there}, and any model file by its path (*.yaml)"
    raise InputError(msg)


def _read_model(path: Path) -> FittedModel | WorkloadModel | Generator:
    """A fitted model, or a made workload as a task has it: ``kind: bursty`` and its settings."""
    text = read_text(path, "workload model")
    found = _KIND.search(text)
    made = GENERATORS.get(found[1]) if found else None
    return parse_settings(made, text, str(path)) if made else parse_model(text, str(path))


def describe(model: FittedModel) -> list[str]:
    """The fitted parameters in words."""
    growth = math.expm1(model.trend_per_day)
    shape, noise, bursts = model.shape, model.noise, model.bursts
    bins = (
        f"in bins of {plain_number(model.bin_seconds)} s, mean {plain_number(model.mean_rps, 4)} requests/s"
    )
    lines = [
        f"{model.name}: fitted to {duration(model.fitted_seconds)} {bins}",
        "trend: none beyond chance, or under two weeks"
        if not growth
        else f"trend: {growth:+.2%} a day over that time, levelling off within "
        f"{duration(model.trend_damping_seconds)} after it",
    ]
    if shape is None:
        lines.append("cycles: none that days tell of each other, or under two days")
    else:
        highest = max(max(row) for row in shape.factors)
        lowest = min(min(row) for row in shape.factors)
        lines.append(
            f"cycles: {_days_in_words(model)}, in slots of {duration(shape.slot_seconds)}, from {lowest:.3g} to "
            f"{highest:.3g} times the mean"
            + (f", with {len(shape.hour)} factors over the hour" if len(shape.hour) > 1 else "")
        )
    lines.append(
        f"noise: {_spread(noise.values, noise.reach):.3g} of the mean wide (standard deviation), growing with the rate "
        f"to the power {noise.power:g}; remembers {len(noise.partial_autocorrelations)} bins"
        + (
            f", and {noise.slow_share:.0%} of it for {duration(noise.slow_seconds)}"
            if noise.slow_share
            else ""
        )
    )
    if bursts.per_day:
        middle = len(bursts.heights) // 2
        lines.append(
            f"bursts: {bursts.per_day:.3g} a day, {bursts.heights[middle]:.3g} times the mean high (median; highest "
            f"{bursts.heights[-1]:.3g}), decaying in {duration(bursts.decay_seconds[middle])}"
        )
    else:
        lines.append("bursts: none apart from the noise")
    chance = (
        "by chance at the rate (Poisson)" if model.counting == "poisson" else "more evenly than by chance"
    )
    return [*lines, f"counts: {chance}"]


def warnings(matches: list[Match]) -> list[str]:
    """What look-alikes are not to be trusted for; one line that says so where all is well."""
    missed = [STATISTICS[one.name].trusted_for for one in matches if not one.fits]
    if not missed:
        return ["Look-alikes match the original in all of these within the bounds."]
    return [f"Look-alikes of this trace are not to be trusted for {one}." for one in missed]


def _match_table(matches: list[Match]) -> Table:
    title = f"original and {_LOOK_ALIKES} look-alikes"
    table = Table(box=None, padding=(0, 2, 0, 0), title=title, title_justify="left")
    for column in ("", "original", "look-alikes, median", "range", "bound", ""):
        table.add_column(column, justify="left" if not column else "right")
    for one in matches:
        if not math.isnan(one.original):
            table.add_row(
                STATISTICS[one.name].about,
                _number(one.original),
                _number(one.middle),
                f"{_number(one.low)} to {_number(one.high)}",
                f"within {_number(one.allowed)}",
                "" if one.fits else "misses",
            )
    return table


def _number(value: float) -> str:
    return "none" if math.isnan(value) else plain_number(value, 3)


def _days_in_words(model: FittedModel) -> str:
    shape = model.shape
    if shape is None or len(shape.factors) == 1:
        return "all days alike"
    if len(shape.factors) == 2:
        return "working days and weekends"
    return "each weekday its own"


def _spread(values: tuple[float, ...], reach: float) -> float:
    """The standard deviation of a standard normal process turned into these values."""
    places = np.linspace(-6, 6, 2001)
    weights = np.exp(-(places**2) / 2)
    turned = np.interp(places, np.linspace(-reach, reach, len(values)), values)
    mean = float(np.average(turned, weights=weights))
    return float(np.sqrt(np.average((turned - mean) ** 2, weights=weights)))


def _summary(model: FittedModel | WorkloadModel) -> str:
    if isinstance(model, WorkloadModel):
        return "working days and weekends, slow noise, bursts; draws minutes"
    parts = [_days_in_words(model) if model.shape else "no cycle"]
    if model.trend_per_day:
        parts.append(f"trend {math.expm1(model.trend_per_day):+.1%} a day")
    spread = _spread(model.noise.values, model.noise.reach)
    parts.append(f"noise {spread:.2g} of the mean")
    if model.bursts.per_day:
        parts.append(f"{model.bursts.per_day:.2g} bursts a day")
    length = f"{plain_number(model.fitted_seconds / DAY_SECONDS, 3)} d of {plain_number(model.bin_seconds)} s"
    return f"{', '.join(parts)}; {length}, {plain_number(model.mean_rps, 3)} requests/s"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ",".join(f"{one:g}" for one in value) + "]"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value).lower()


def _check_model(path: Path) -> None:
    if path.suffix != ".yaml":
        msg = f"--out {path}: a model's name ends in .yaml"
        raise InputError(msg)
    check_file("--out", path)
