"""``setpoint traces pull``: a trace from a Prometheus server."""

from __future__ import annotations

import math
import re
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from experiments.commands import CONSOLE, STATUS, check_png
from experiments.prometheus_range import Grid, PrometheusRange
from experiments.trace_view import check_csv, moment
from simulator.arrays import Floats
from simulator.errors import InputError
from simulator.settings import read_text
from simulator.trace import Trace, write_trace

_UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_MOST_TOLD = 3
_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+):\s*([\x20-\x7e]*)")


@dataclass(frozen=True, slots=True)
class Server:
    """Where to ask and as whom.

    Attributes:
        url: of a Prometheus server.
        token_file: holds a bearer token; None sends none.
        headers: further ones, each ``Name: value``.
    """

    url: str
    token_file: Path | None
    headers: tuple[str, ...]
    timeout_seconds: float

    def connect(self) -> PrometheusRange:
        """A client; nothing is asked yet.

        Raises:
            InputError: naming the option that is wrong.
        """
        headers = {}
        for header in self.headers:
            found = _HEADER.fullmatch(header.strip())
            if not found:
                msg = "--header: must be 'Name: value', such as 'X-Scope-OrgID: shop'"
                raise InputError(msg)
            headers[found[1]] = found[2]
        if self.token_file:
            token = read_text(self.token_file, "token file").strip()
            if not re.fullmatch(r"[\x21-\x7e]+", token):
                msg = f"{self.token_file}: a token file holds one token and nothing else"
                raise InputError(msg)
            headers["Authorization"] = f"Bearer {token}"
        return PrometheusRange(self.url, headers, self.timeout_seconds, STATUS.print)


@dataclass(frozen=True, slots=True)
class Span:
    """What is asked for, as the command line has it."""

    start: str
    end: str
    step: str

    def grid(self) -> Grid:
        """The times at which queries are evaluated.

        Raises:
            InputError: naming the option that is wrong.
        """
        start, end = parse_moment("--start", self.start), parse_moment("--end", self.end)
        return Grid.over(start, end, parse_duration("--step", self.step))


def parse_moment(option: str, text: str) -> float:
    """Seconds since 1970, from such or from a date and time of ISO 8601, in UTC where it names no zone."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            seconds = math.nan
        else:
            seconds = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    if not 0 <= seconds < 1e11:
        msg = f"{option} is {text!r}; must be a time such as 2024-05-01T00:00:00Z, or seconds since 1970"
        raise InputError(msg)
    return round(seconds, 3)


def parse_duration(option: str, text: str) -> float:
    """Seconds, from a number and a unit: ms, s, m, h, d."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)", text.strip())
    if not found:
        msg = f"{option} is {text!r}; must be such as 15s, 1m or 60"
        raise InputError(msg)
    return float(found[1]) * _UNITS[found[2]]


def pull(server: Server, query: str, span: Span, out: Path, png: Path | None, *, counts: bool) -> None:
    """``setpoint traces pull``."""
    grid = span.grid()
    check_csv("--out", out)
    if png:
        check_png(png)
    with closing(server.connect()) as prometheus:
        values = prometheus.one(query, grid)
    check_values(query, grid, values)
    requests = values if counts else values * grid.step_seconds
    trace = Trace(requests, grid.step_seconds, name=out.name)
    write_trace(trace, out)
    begin, end = (moment(time - grid.step_seconds) for time in (grid.time(0), grid.time(grid.count)))
    CONSOLE.print(
        f"{grid.count:,} bins of {grid.step_seconds:g} s written to {out}: {requests.sum():,.0f} requests, "
        f"{trace.mean_rps:.4g} a second"
    )
    CONSOLE.print(f"0 s is {begin}, the end {end}")
    if png:
        from experiments.figures import draw_trace

        draw_trace(trace, png)
        CONSOLE.print(f"drawn in {png}")


def check_values(query: str, grid: Grid, values: Floats) -> None:
    """Refuse what is no load.

    Raises:
        InputError: naming the query and the time of the first step that is missing, no finite number or negative.
    """
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if wrong.size == 0:
        return
    told = (f"{moment(grid.time(place))} ({_call(values[place])})" for place in wrong[:_MOST_TOLD].tolist())
    more = ", ..." if wrong.size > _MOST_TOLD else ""
    msg = (
        f"the query {query!r} is no load at {wrong.size} of {grid.count} steps, and each needs a finite number "
        f"of at least 0: {', '.join(told)}{more}"
    )
    raise InputError(msg)


def _call(value: float) -> str:
    return "missing or NaN" if np.isnan(value) else f"{value:g}"
