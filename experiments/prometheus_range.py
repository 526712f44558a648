"""Range queries of a Prometheus server: values of expressions at even times, and what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from simulator.arrays import Floats
from simulator.errors import InputError

MOST_POINTS = 11_000
"""Steps that Prometheus takes in one range query."""
_MOST_LISTED = 10
_MOST_LETTERS = 300
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """Even times at which an expression is evaluated, seconds since 1970.

    Attributes:
        first_seconds: the first of them.
        step_seconds: between two.
        count: how many there are.
    """

    first_seconds: float
    step_seconds: float
    count: int

    @staticmethod
    def over(start_seconds: float, end_seconds: float, step_seconds: float) -> Grid:
        """The end of each step of ``[start, end)``: a rate over one step looks back on that step.

        Raises:
            InputError: if the steps are not whole milliseconds or do not fill the span.
        """
        if not (step_seconds > 0 and math.isclose(1000 * step_seconds, round(1000 * step_seconds))):
            msg = f"--step is {step_seconds:g}; must be above 0 and whole milliseconds"
            raise InputError(msg)
        steps = (end_seconds - start_seconds) / step_seconds
        if not (math.isclose(steps, round(steps), abs_tol=1e-6) and round(steps) >= 2):
            msg = (
                f"--end is {end_seconds - start_seconds:g} s after --start; must be 2 or more whole steps "
                f"of {step_seconds:g} s"
            )
            raise InputError(msg)
        return Grid(start_seconds + step_seconds, step_seconds, round(steps))

    def chunks(self) -> Iterator[Grid]:
        """Parts that fit one query each."""
        for begin in range(0, self.count, MOST_POINTS):
            first = self.first_seconds + begin * self.step_seconds
            yield Grid(first, self.step_seconds, min(MOST_POINTS, self.count - begin))

    def time(self, place: int) -> float:
        """The time at a place."""
        return self.first_seconds + place * self.step_seconds


class PrometheusRange:
    """A Prometheus server that is asked for ranges.

    Args:
        url: of the server; a user and a password in it are sent and never shown.
        headers: sent with each query.
        say: told of the server's warnings, once each.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        timeout_seconds: float,
        say: Callable[[str], None],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        given = _checked(url)
        self.url = str(given.copy_with(userinfo=b"")).rstrip("/")
        auth = (given.username, given.password) if given.userinfo else None
        self._client = httpx.Client(timeout=timeout_seconds, auth=auth, headers=headers, transport=transport)
        self._timeout_seconds = timeout_seconds
        self._say = say
        self._said: set[str] = set()

    def one(self, query: str, grid: Grid) -> Floats:
        """The values of the one series that a query gives: float64 ``(count,)``, NaN where there is none.

        Raises:
            InputError: if the server gives no answer, an error, no series or more than one.
        """
        found = self.all(query, grid)
        if len(found) != 1:
            raise InputError(self._not_one(query, list(found)))
        return next(iter(found.values()))

    def all(self, query: str, grid: Grid) -> dict[Labels, Floats]:
        """The values of each series that a query gives, by its labels.

        Raises:
            InputError: if the server gives no answer or an error.
        """
        found: dict[Labels, Floats] = {}
        done = 0
        for chunk in grid.chunks():
            for series in self._ask(query, chunk):
                labels = tuple(sorted(series["metric"].items()))
                values = found.setdefault(labels, np.full(grid.count, np.nan))
                times, texts = zip(*series["values"], strict=True)
                places = np.rint((np.array(times) - chunk.first_seconds) / chunk.step_seconds).astype(int)
                inside = (places >= 0) & (places < chunk.count)
                values[done + places[inside]] = np.array(texts, dtype=np.float64)[inside]
            done += chunk.count
        return found

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _ask(self, query: str, grid: Grid) -> list[dict[str, Any]]:
        """The series of one range query."""
        parameters: dict[str, str] = {
            "query": query,
            "start": f"{grid.first_seconds:.3f}",
            "end": f"{grid.time(grid.count - 1):.3f}",
            "step": f"{grid.step_seconds:.3f}",
        }
        try:
            answer = self._client.get(f"{self.url}/api/v1/query_range", params=parameters)
        except httpx.TimeoutException:
            msg = f"{self.url}: no answer within {self._timeout_seconds:g} s (see --timeout)"
            raise InputError(msg) from None
        except httpx.HTTPError as error:
            msg = f"{self.url}: no server answers ({error or type(error).__name__})"
            raise InputError(msg) from None
        content = self._content(answer, query)
        for warning in (*content.get("warnings", ()), *content.get("infos", ())):
            if warning not in self._said:
                self._said.add(warning)
                self._say(f"{self.url} warns: {warning}")
        data = content.get("data")
        if not isinstance(data, dict) or data.get("resultType") != "matrix":
            raise InputError(self._unlike(answer))
        return [series for series in data["result"] if series.get("values")]

    def _content(self, answer: httpx.Response, query: str) -> dict[str, Any]:
        """The answer as JSON of Prometheus' form; what the server says of an error is passed on."""
        try:
            content = answer.json()
        except ValueError:
            content = None
        if isinstance(content, dict) and content.get("status") == "error":
            said = " ".join(str(content.get("error", "")).split())[:_MOST_LETTERS]
            msg = f"{self.url} refuses the query {query!r}: {said} (HTTP {answer.status_code})"
            raise InputError(msg)
        if answer.is_success and isinstance(content, dict) and content.get("status") == "success":
            return content
        raise InputError(self._unlike(answer))

    def _unlike(self, answer: httpx.Response) -> str:
        kind = answer.headers.get("content-type", "").partition(";")[0] or "no content type"
        hint = ""
        if answer.status_code in {401, 403}:
            hint = "; it wants to know who asks (--token-file or --header)"
        elif answer.is_redirect:
            hint = f"; it sends on to {answer.headers.get('location', '')[:_MOST_LETTERS]}"
        return (
            f"{self.url}: not an answer of Prometheus' query_range (HTTP {answer.status_code}, {kind}){hint}"
        )

    def _not_one(self, query: str, found: list[Labels]) -> str:
        if not found:
            return f"{self.url}: no series answers the query {query!r} in this span; exactly one must"
        listed = [describe_labels(labels) for labels in sorted(found)[:_MOST_LISTED]]
        more = f" and {len(found) - len(listed)} others" if len(found) > len(listed) else ""
        return (
            f"{self.url}: {len(found)} series answer the query {query!r}, and exactly one must "
            f"(sum(...) adds them up): {', '.join(listed)}{more}"
        )


def describe_labels(labels: Labels) -> str:
    """A series' labels as PromQL writes them."""
    name = dict(labels).get("__name__", "")
    pairs = ",".join(f'{key}="{value}"' for key, value in labels if key != "__name__")
    return f"{name}{{{pairs}}}"


def _checked(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        msg = f"--prometheus is {url!r}: {error}"
        raise InputError(msg) from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        msg = f"--prometheus is {url!r}; must be an address such as http://prometheus:9090"
        raise InputError(msg)
    return parsed
