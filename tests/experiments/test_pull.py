"""`setpoint traces pull` against a real Prometheus, and against answers that one gives rarely."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from control_plane.history import DAYS, START, History, counted
from control_plane.process import free_ports

from experiments.prometheus_range import MOST_POINTS, Grid, PrometheusRange
from experiments.pull import parse_duration, parse_moment
from simulator.errors import InputError
from simulator.trace import read_trace

SETPOINT = Path(sys.executable).with_name("setpoint")
RATE = 'rate(http_requests_total{service="web"}[1m])'


def pull(
    url: str, query: str, folder: Path, *more: object, seconds: float = 86_400.0, step: str = "1m"
) -> subprocess.CompletedProcess[str]:
    span = ("--start", "2024-05-01T01:00:00Z", "--end", START + 3600 + seconds, "--step", step)
    command = ("traces", "pull", "--prometheus", url, "--query", query, *span, "--out", "load.csv", *more)
    return subprocess.run(
        [str(SETPOINT), *map(str, command)], cwd=folder, capture_output=True, text=True, check=False
    )


def refusal(done: subprocess.CompletedProcess[str], folder: Path) -> str:
    assert done.returncode == 2, done.stderr
    assert not list(folder.iterdir())
    (line,) = done.stderr.splitlines()
    return line


def test_a_rate_becomes_the_counts_of_its_steps(history: History, tmp_path: Path) -> None:
    done = pull(history.url, RATE, tmp_path, "--png", "load.png")
    assert done.returncode == 0, done.stderr
    assert "0 s is 2024-05-01 01:00:00 UTC, the end 2024-05-02 01:00:00 UTC" in done.stdout
    trace = read_trace(tmp_path / "load.csv")
    assert (trace.start_seconds, trace.bin_seconds, len(trace.requests)) == (0, 60, 1440)
    true = np.diff(counted(3600 + 60.0 * np.arange(1441)))
    # rate() looks at scrapes, of which the last of a step is the first of the next, and extrapolates
    assert np.allclose(trace.requests, true, rtol=0.01)
    assert trace.requests.sum() == pytest.approx(true.sum(), rel=1e-3)
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


def test_more_steps_than_one_query_takes(history: History, tmp_path: Path) -> None:
    seconds = (DAYS - 1) * 86_400.0
    done = pull(history.url, RATE, tmp_path, seconds=seconds, step="15s")
    assert done.returncode == 0, done.stderr
    trace = read_trace(tmp_path / "load.csv")
    assert len(trace.requests) == seconds / 15 > MOST_POINTS
    assert trace.requests.sum() == pytest.approx(
        np.diff(counted(np.array([3600, 3600 + seconds])))[0], rel=2e-3
    )


def test_counts_are_taken_as_they_are(history: History, tmp_path: Path) -> None:
    query = 'load{kind="late"}'
    done = pull(history.url, query, tmp_path, "--counts")
    assert done.returncode == 0, done.stderr
    assert read_trace(tmp_path / "load.csv").requests.tolist() == list(range(61, 1501)), "at each step's end"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("rate(http_requests_total[1m])", "2 series answer the query"),
        ("rate(http_requests_total[1m])", '{service="shop"}, {service="web"}'),
        ("rate(nothing_of_the_kind[1m])", "no series answers the query"),
        ('load{kind="nan"}', "is no load at 1 of 1440 steps, and each needs a finite number of at least 0: "),
        ('load{kind="nan"}', "2024-05-01 02:00:00 UTC (missing or NaN)"),
        ('load{kind="inf"}', "2024-05-01 02:00:00 UTC (inf)"),
        ('-load{kind="late"}', "2024-05-01 01:01:00 UTC (-61)"),
        ('load{kind="gap"}', "2024-05-01 01:05:00 UTC (missing or NaN)"),
        ("rate(http_requests_total[1m]", "unclosed left parenthesis (HTTP 400)"),
        ("vector(1) and on() time(", "refuses the query"),
    ],
)
def test_what_is_no_load_is_refused(history: History, tmp_path: Path, query: str, said: str) -> None:
    assert said in refusal(pull(history.url, query, tmp_path), tmp_path)


def test_no_server(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    done = pull(f"http://127.0.0.1:{port}", RATE, tmp_path)
    assert "no server answers" in refusal(done, tmp_path)


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://me:secret@127.0.0.1:{listening.getsockname()[1]}"
        done = pull(url, RATE, tmp_path, "--timeout", "0.5")
    line = refusal(done, tmp_path)
    assert "no answer within 0.5 s" in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--header", "no colon"), "--header"),
        (("--token-file", "absent"), "absent: no such token file"),
        (("--step", "7s"), "whole steps of 7 s"),
        (("--step", "soon"), "--step is 'soon'"),
        (("--start", "yesterday"), "--start is 'yesterday'"),
        (("--out", "load.txt"), "ends in .csv"),
        (("--png", "load.jpg"), "ends in .png"),
        (("--prometheus", "prometheus:9090"), "must be an address"),
    ],
)
def test_options_are_checked_before_anything_is_asked(
    tmp_path: Path, more: tuple[str, str], said: str
) -> None:
    assert said in refusal(pull("http://127.0.0.1:9", RATE, tmp_path, *more), tmp_path)


GRID = Grid.over(0.0, 600.0, 60.0)


def ask(answer: Callable[[httpx.Request], httpx.Response], told: list[str] | None = None) -> np.ndarray:
    transport = httpx.MockTransport(answer)
    say = (told if told is not None else []).append
    server = PrometheusRange("http://prometheus:9090/", {"X-Scope-OrgID": "shop"}, 5.0, say, transport)
    return server.one("up", GRID)


def matrix(**more: object) -> dict[str, object]:
    values = [[60 * step, "1.5"] for step in range(1, 11)]
    result = [{"metric": {"__name__": "up"}, "values": values}]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}} | more


def test_headers_are_sent_and_warnings_told_once() -> None:
    told: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["x-scope-orgid"] == "shop"
        assert request.url.params["end"] == "600.000"
        return httpx.Response(200, json=matrix(warnings=["remote read is slow", "remote read is slow"]))

    assert ask(answer, told).tolist() == [1.5] * 10
    assert told == ["http://prometheus:9090 warns: remote read is slow"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            httpx.Response(200, html="<html>sign in</html>"),
            "not an answer of Prometheus' query_range (HTTP 200, text/html)",
        ),
        (httpx.Response(401, text="who?"), "--token-file"),
        (httpx.Response(302, headers={"location": "https://login"}), "it sends on to https://login"),
        (
            httpx.Response(503, json={"status": "error", "error": "query timed out"}),
            "query timed out (HTTP 503)",
        ),
        (
            httpx.Response(
                200, json={"status": "success", "data": {"resultType": "scalar", "result": [0, "1"]}}
            ),
            "query_range",
        ),
        (httpx.Response(200, json=[]), "query_range"),
        (httpx.Response(200, json={"status": "success"}), "query_range"),
    ],
)
def test_other_answers_end_in_one_line(answer: httpx.Response, said: str) -> None:
    with pytest.raises(InputError) as caught:
        ask(lambda _: answer)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_chunks_cover_every_step_once() -> None:
    grid = Grid(100.0, 0.5, 25_000)
    times = [chunk.time(place) for chunk in grid.chunks() for place in range(chunk.count)]
    assert times == [grid.time(place) for place in range(grid.count)]
    assert max(chunk.count for chunk in grid.chunks()) == MOST_POINTS


def test_times_and_durations() -> None:
    for text in ("2024-05-01T00:00:00Z", "2024-05-01", "2024-05-01T02:00:00+02:00", str(START)):
        assert parse_moment("--start", text) == START
    assert [parse_duration("--step", text) for text in ("15s", "1m", "60", "250ms", "1.5h")] == [
        15,
        60,
        60,
        0.25,
        5400,
    ]
