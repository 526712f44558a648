"""Access logs: against a plain parser, in any order, in any time zone, and what is refused."""

from __future__ import annotations

import calendar
import datetime as dt
import gzip
import random
import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.access_log import is_access_log, parse_access_log
from simulator.errors import InputError
from simulator.trace import read_trace, split_trace, write_trace

ZONES = ("+0000", "-0700", "+0530", "+1400", "-0000")
REQUESTS = (
    "GET /index.html HTTP/1.1",
    'GET /say?"hello" HTTP/1.0',
    r"GET /a\"b HTTP/1.1",
    "-",
    "",
    r"\x16\x03\x01 [x]",
)


def stamp(epoch: int, zone: str = "+0000") -> str:
    hours, minutes = int(zone[:3]), int(zone[0] + zone[3:])
    moment = dt.datetime.fromtimestamp(epoch, dt.UTC) + dt.timedelta(hours=hours, minutes=minutes)
    return f"{moment:%d}/{calendar.month_abbr[moment.month]}/{moment:%Y:%H:%M:%S} {zone}"


def line(
    epoch: int, zone: str = "+0000", request: str = REQUESTS[0], tail: str = "200 512", user: str = "-"
) -> str:
    return f'203.0.113.9 - {user} [{stamp(epoch, zone)}] "{request}" {tail}'


def plain_parse(text: str) -> list[int]:
    """The same by the standard library, a line at a time."""
    found = []
    for one in text.split("\n"):
        inside = re.search(r"\[([^\]]{26})\]", one)
        if not inside:
            continue
        moment = dt.datetime.strptime(inside[1], "%d/%b/%Y:%H:%M:%S %z")
        found.append(int(moment.timestamp()))
    return found


def write(folder: Path, lines: list[str], name: str = "access.log") -> Path:
    path = folder / name
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


RECORDS = st.lists(
    st.tuples(
        st.integers(-1_000_000_000, 4_000_000_000),
        st.sampled_from(ZONES),
        st.sampled_from(REQUESTS),
        st.sampled_from(
            ["200 512", "304 -", '404 0 "-" "curl/8.0"', '200 1 "http://a/ b" "M [x] \\"y\\"" 0.003', "- -"]
        ),
        st.sampled_from(["-", "frank", "Frank Smith"]),
    ),
    min_size=1,
    max_size=30,
)


@given(RECORDS)
def test_times_are_those_of_a_plain_parser(records: list[tuple[int, str, str, str, str]]) -> None:
    text = "\n".join(line(*record) for record in records)
    log = parse_access_log(Path("access.log"), text.encode())
    assert log.epoch_seconds.tolist() == [record[0] for record in records] == plain_parse(text)
    assert (log.lines, log.bad_lines, log.first_bad) == (len(records), 0, None)
    windows = parse_access_log(Path("access.log"), text.replace("\n", "\r\n\r\n").encode())
    assert windows.epoch_seconds.tolist() == log.epoch_seconds.tolist()
    assert windows.lines == log.lines


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=50), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_trace(
    tmp_path_factory: pytest.TempPathFactory, epochs: list[int], order: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("log")
    lines = [line(1_700_000_000 + epoch, ZONES[epoch % len(ZONES)]) for epoch in epochs]
    traces = [read_trace(write(folder, lines))]
    order.shuffle(lines)
    traces.append(read_trace(write(folder, lines, "access.log.gz")))
    first, second = traces
    assert first.requests.tolist() == second.requests.tolist()
    assert (first.bin_seconds, first.start_seconds, first.origin) == (
        second.bin_seconds,
        second.start_seconds,
        second.origin,
    )
    assert first.requests.sum() == len(epochs)
    assert first.start_seconds == 0
    assert first.requests[0] > 0
    assert first.requests[-1] > 0
    assert first.times_seconds is None


def test_a_day_is_counted_by_the_second_and_more_by_the_minute(tmp_path: Path) -> None:
    day = read_trace(write(tmp_path, [line(1_700_000_030), line(1_700_086_430)]))
    assert (day.bin_seconds, len(day.requests)) == (1, 86_401)
    longer = read_trace(write(tmp_path, [line(1_700_000_030), line(1_700_086_431)]))
    assert (longer.bin_seconds, len(longer.requests)) == (60, 1441)
    assert longer.origin is not None
    assert longer.origin.epoch_seconds == 1_700_000_030 // 60 * 60


def test_a_binned_log_reads_again_and_a_log_can_be_scaled(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, [line(1_700_000_000 + second // 3) for second in range(600)]))
    write_trace(trace, tmp_path / "counts.csv")
    again = read_trace(tmp_path / "counts.csv")
    assert again.requests.tolist() == trace.requests.tolist() == [3.0] * 200
    assert split_trace(trace, mean_rps=6.0).judged.requests.tolist() == [6.0] * 200


BAD = {
    "text": "this is no access log",
    "cut": line(0)[:60],
    "month": line(0).replace("Jan", "Foo"),
    "day": line(0).replace("01/Jan", "31/Feb"),
    "leap year": line(0).replace("01/Jan/1970", "29/Feb/1971"),
    "hour": line(0).replace(":00:00:00", ":24:00:00"),
    "minute": line(0).replace(":00:00:00", ":00:60:00"),
    "second": line(0).replace(":00:00:00", ":00:00:61"),
    "zone": line(0).replace("+0000", "+1500"),
    "no zone": line(0).replace(" +0000", ""),
    "status": line(0, tail="OK 512"),
    "bytes": line(0, tail="200 -5"),
    "no quotes": line(0).replace('"', ""),
}


@pytest.mark.parametrize("name", BAD)
def test_one_bad_line_in_a_hundred_is_told_and_two_are_refused(name: str, tmp_path: Path) -> None:
    good = [line(1_700_000_000 + second) for second in range(99)]
    path = write(tmp_path, [*good[:40], "", BAD[name], *good[40:]])
    trace = read_trace(path)
    assert trace.requests.sum() == 99
    assert trace.origin is not None
    assert (
        f"1 of 100 lines are no lines of an access log and are left out; the first is line 42: {BAD[name][:80]!r}"
        in (trace.origin.warning)
    )
    path = write(tmp_path, [*good[:40], "", BAD[name], *good[40:], BAD[name]])
    with pytest.raises(InputError) as caught:
        read_trace(path)
    assert str(caught.value).startswith(
        f"{path}:42: {BAD[name][:80]!r} is no line of an access log; 2 of 101"
    )
    assert "\n" not in str(caught.value)


def test_a_leap_day_and_a_leap_second_are_times() -> None:
    text = line(0).replace("01/Jan/1970:00:00:00", "29/Feb/2024:23:59:60")
    assert parse_access_log(Path("a"), text.encode()).epoch_seconds.tolist() == [
        calendar.timegm((2024, 3, 1, 0, 0, 0))
    ]


def test_what_is_no_access_log_is_not_taken_for_one() -> None:
    for content in (b"", b"t_seconds,requests\n0,1\n", b"t_seconds\n1\n", bytes(range(256)) * 9):
        assert not is_access_log(content)
    assert is_access_log(f"# a comment\n{line(0)}\n".encode())


def test_bad_lines_everywhere_are_found_by_number(tmp_path: Path) -> None:
    good = [line(1_700_000_000 + second) for second in range(300)]
    for place in (0, 150, 300):
        lines = [*good[:place], "bad", *good[place:]]
        log = parse_access_log(Path("a"), "\n".join(lines).encode())
        assert log.first_bad == (place + 1, "bad")
        assert (log.lines, log.bad_lines) == (301, 1)


def test_millions_of_lines_take_seconds(tmp_path: Path) -> None:
    tail = '200 5120 "https://example.org/a/page" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"'
    lines = [line(1_700_000_000 + second, tail=tail) for second in np.arange(20_000).tolist()]
    content = ("\n".join(lines) + "\n").encode() * 10
    begin = time.perf_counter()
    log = parse_access_log(tmp_path, content)
    assert log.lines == 200_000
    assert time.perf_counter() - begin < 5, "0.3 s on a quiet core"
