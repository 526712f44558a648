"""Traces: what is refused and how, and what keeps the number of requests."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.trace import (
    COARSE_BIN_SECONDS,
    FINEST_BIN_SECONDS,
    Trace,
    read_trace,
    split_trace,
    write_trace,
)

COUNTS = st.lists(st.just(0.0) | st.floats(1e-3, 1e6), min_size=2, max_size=40)
BINS = st.sampled_from([0.1, 1.0, 15.0, 60.0, 100.0, 300.0, 350.0, 3600.0])
STARTS = st.sampled_from([0.0, -120.0, 1e3 + 1 / 3, 1.7e9])


def write(folder: Path, *rows: str, header: str = "t_seconds,requests") -> Path:
    path = folder / "load.csv"
    path.write_text("\n".join([header, *rows, ""]))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_trace(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


@pytest.mark.parametrize(
    ("rows", "line", "values"),
    [
        (("0,1", "60,2", "180,4", "240,5"), 4, ("60", "180", "gap")),
        (("0,1", "60,2", "180,4"), 4, ("60", "180", "gap")),
        (("0,1", "120,2", "180,4"), 3, ("0", "120", "gap")),
        (("0,1", "60,2", "61,4", "120,5", "180,6", "240,7"), 4, ("60", "61")),
        (("0,1", "60,-2", "120,4"), 3, ("requests", "-2")),
        (("0,1", "60,nan", "120,4"), 3, ("requests", "'nan'")),
        (("0,1", "60,", "120,4"), 3, ("requests", "''")),
        (("0,1", "60,2", "120,inf"), 4, ("requests", "'inf'")),
        (("0,1", "60,2", "120,-inf"), 4, ("requests", "'-inf'")),
        (("0,1", "60,1e999", "120,4"), 3, ("requests", "'1e999'")),
        (("0,1", "60,many", "120,4"), 3, ("requests", "'many'")),
        (("0,1", "sixty,2", "120,4"), 3, ("t_seconds", "'sixty'")),
        (("0,1", "nan,2", "120,4"), 3, ("t_seconds", "'nan'")),
        (("0,1", "", "120,4"), 3, ("t_seconds", "''")),
        (("0,1", "120,2", "60,4", "180,5"), 4, ("60", "120", "increase")),
        (("0,1", "60,2", "60,4", "120,5"), 4, ("60", "increase")),
        (("1700000000.1,1", "1700000000.2,2", "1700000000.2,3"), 4, ("1700000000.2", "increase")),
        (("0,1,7", "60,2,8", "120,3,9"), 2, ("more values",)),
    ],
)
def test_a_wrong_row_is_named(
    tmp_path: Path, rows: tuple[str, ...], line: int, values: tuple[str, ...]
) -> None:
    message = refusal(write(tmp_path, *rows))
    assert message.startswith(f":{line}: ")
    for value in values:
        assert value in message


def test_a_surplus_value_in_a_later_row_is_named(tmp_path: Path) -> None:
    assert "line 3" in refusal(write(tmp_path, "0,1", "60,2,8", "120,3"))


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("time,requests", "'time'"),
        ("t_seconds,count", "'count'"),
        ("t_seconds;requests", "'t_seconds;requests'"),
        ("0,5", "'0', '5'"),
    ],
)
def test_a_missing_column_is_named(tmp_path: Path, header: str, found: str) -> None:
    message = refusal(write(tmp_path, "60,1", "120,2", header=header))
    assert message.startswith(":1: needs one column")
    assert found in message


@pytest.mark.parametrize(("rows", "count"), [((), "0 rows"), (("0,1",), "1 rows")])
def test_too_few_rows(tmp_path: Path, rows: tuple[str, ...], count: str) -> None:
    message = refusal(write(tmp_path, *rows))
    assert count in message
    assert "at least 2" in message


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("empty.csv", b"", "empty"),
        ("blank.csv", b"\n \n", "empty"),
        ("empty.csv.gz", gzip.compress(b"", mtime=0), "empty"),
        ("noise.csv", bytes(range(256)) * 20, "not a text file"),
        ("nul.csv", b"\0" * 64, "needs one column"),
        ("noise.csv.gz", bytes(range(256)), "gzip"),
        ("noise-inside.csv.gz", gzip.compress(bytes(range(256)), mtime=0), "not a text file"),
        ("cut.csv.gz", gzip.compress(b"t_seconds,requests\n0,1\n60,2\n" * 50, mtime=0)[:-9], "gzip"),
        ("quotes.csv", b't_seconds,requests\n0,"1\n60,2\n', "not a CSV file"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, name: str, content: bytes, part: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert part in refusal(path)


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    good = bytearray(
        gzip.compress(b"t_seconds,requests\n" + b"".join(b"%d,%d\n" % (60 * i, i) for i in range(500)))
    )
    good[len(good) // 2] ^= 0xFF
    path = tmp_path / "damaged.csv.gz"
    path.write_bytes(bytes(good))
    assert "gzip" in refusal(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "nowhere.csv")
    assert "cannot be read" in refusal(tmp_path)


def test_what_a_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_bytes(b"\xef\xbb\xbfnote, requests ,t_seconds\r\na, 3 ,120\r\nb,0,180\r\nc,4.5,240\r\n")
    trace = read_trace(path)
    assert trace.requests.tolist() == [3.0, 0.0, 4.5]
    assert (trace.start_seconds, trace.bin_seconds, trace.name) == (120.0, 60.0, "load.csv")
    assert trace.end_seconds == 300.0
    assert trace.mean_rps == 7.5 / 180
    assert trace.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@settings(deadline=None)
@given(counts=COUNTS, bin_seconds=BINS, start=STARTS, suffix=st.sampled_from([".csv", ".csv.gz"]))
def test_written_and_read_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    counts: list[float],
    bin_seconds: float,
    start: float,
    suffix: str,
) -> None:
    path = tmp_path_factory.mktemp("trace") / f"load{suffix}"
    trace = Trace(np.array(counts), bin_seconds, start)
    write_trace(trace, path)
    content = path.read_bytes()
    read = read_trace(path)
    np.testing.assert_allclose(read.requests, trace.requests, rtol=1e-14)
    assert read.start_seconds == pytest.approx(start, rel=1e-14)
    assert read.bin_seconds == pytest.approx(bin_seconds, abs=1e-5 if start > 1e9 else 1e-9)
    assert read.sha256 == hashlib.sha256(content).hexdigest()
    write_trace(trace, path)
    assert path.read_bytes() == content


@settings(deadline=None)
@given(st.data(), COUNTS, BINS, STARTS)
def test_a_slice_of_whole_bins_is_the_same_bins(
    data: st.DataObject, counts: list[float], bin_seconds: float, start: float
) -> None:
    trace = Trace(np.array(counts), bin_seconds, start)
    first = data.draw(st.integers(0, len(counts) - 1))
    last = data.draw(st.integers(first + 1, len(counts)))
    part = trace.slice(start + first * bin_seconds, (last - first) * bin_seconds)
    assert len(part.requests) == last - first
    if start < 1e9:  # a bin's start in seconds since 1970 is no exact number
        assert part.requests.tolist() == counts[first:last]


@pytest.mark.parametrize(
    ("start", "duration", "expected", "bin_seconds"),
    [
        (0.0, 90.0, [30.0, 30.0, 60.0], 30.0),
        (30.0, 60.0, [30.0, 60.0], 30.0),
        (10.0, 5.0, [5.0], 5.0),
        (45.0, 30.0, [15.0, 30.0], 15.0),
    ],
)
def test_a_part_that_cuts_bins_is_as_long_as_asked(
    start: float, duration: float, expected: list[float], bin_seconds: float
) -> None:
    part = Trace(np.array([60.0, 120.0, 0.0]), 60.0).slice(start, duration)
    assert part.duration_seconds == duration
    assert part.requests.tolist() == expected
    assert part.bin_seconds == bin_seconds


def mass_before(trace: Trace, seconds: float) -> float:
    """Requests before ``seconds``, by adding up bins one by one."""
    mass = 0.0
    for index, count in enumerate(trace.requests):
        left = trace.start_seconds + index * trace.bin_seconds
        mass += float(count) * min(max((seconds - left) / trace.bin_seconds, 0.0), 1.0)
    return mass


@settings(deadline=None)
@given(COUNTS, BINS, st.floats(0, 0.99), st.floats(0.001, 1))
def test_a_slice_keeps_its_mass(counts: list[float], bin_seconds: float, where: float, share: float) -> None:
    trace = Trace(np.array(counts), bin_seconds, 30.0)
    start = 30.0 + where * trace.duration_seconds
    duration = share * (trace.end_seconds - start)
    part = trace.slice(start, duration)
    assert np.isfinite(part.requests).all()
    assert (part.requests >= -1e-6).all()
    assert part.duration_seconds == pytest.approx(duration, rel=1e-5)
    expected = mass_before(trace, start + duration) - mass_before(trace, start)
    scale = max(counts) + 1
    assert mass_before(part, start + duration) == pytest.approx(expected, abs=1e-5 * scale)


@settings(deadline=None)
@given(COUNTS, st.sampled_from([1.0, 7.0, 15.0, 60.0, 90.0]))
def test_resampling_keeps_the_mass_of_every_bin(counts: list[float], bin_seconds: float) -> None:
    trace = Trace(np.array(counts), 60.0, -60.0)
    fine = trace.resample(bin_seconds)
    assert fine.start_seconds == trace.start_seconds
    assert trace.duration_seconds - fine.duration_seconds < bin_seconds
    for index in range(len(fine.requests)):
        left = fine.start_seconds + index * bin_seconds
        expected = mass_before(trace, left + bin_seconds) - mass_before(trace, left)
        assert fine.requests[index] == pytest.approx(expected, abs=1e-6 * (1 + max(counts)))


def test_resampling_to_more_than_there_is_is_refused() -> None:
    with pytest.raises(InputError, match="wider than the trace"):
        Trace(np.ones(3), 60.0).resample(200.0)


@settings(deadline=None)
@given(COUNTS, BINS)
def test_refining_keeps_the_mass_of_every_bin(counts: list[float], bin_seconds: float) -> None:
    trace = Trace(np.array(counts), bin_seconds, 5.0)
    fine = trace.refine()
    assert fine.bin_seconds <= FINEST_BIN_SECONDS
    assert (fine.requests >= 0).all()
    parts = round(bin_seconds / fine.bin_seconds)
    assert fine.bin_seconds * parts == pytest.approx(bin_seconds)
    np.testing.assert_allclose(fine.requests.reshape(-1, parts).sum(axis=1), counts, rtol=1e-9, atol=1e-300)


def test_refining_a_line_gives_a_line() -> None:
    fine = Trace(np.array([100.0, 100.0, 100.0]), 3600.0).refine()
    np.testing.assert_allclose(fine.requests, 100 / 60)


@settings(deadline=None)
@given(COUNTS, st.floats(0, 1e3))
def test_scaling_scales_every_bin(counts: list[float], factor: float) -> None:
    assert Trace(np.array(counts), 60.0).scale(factor).requests.tolist() == [
        count * factor for count in counts
    ]


@pytest.mark.parametrize(
    ("start", "duration"),
    [(-1.0, 60.0), (0.0, 241.0), (240.0, 60.0), (60.0, 0.0), (60.0, -60.0), (math.nan, 60.0)],
)
def test_a_slice_outside_is_refused(start: float, duration: float) -> None:
    with pytest.raises(InputError, match="load: the part from .* is not within the trace"):
        Trace(np.ones(4), 60.0, name="load").slice(start, duration)


@settings(deadline=None)
@given(
    history=st.lists(st.floats(1, 1e6), min_size=1, max_size=20),
    judged=COUNTS,
    other=COUNTS,
    bin_seconds=BINS,
    mean_rps=st.floats(0.1, 1e4),
)
def test_the_judged_part_never_shows_before_it_is_judged(
    history: list[float], judged: list[float], other: list[float], bin_seconds: float, mean_rps: float
) -> None:
    start = 600.0 + len(history) * bin_seconds
    one, two = (
        split_trace(
            Trace(np.array(history + part), bin_seconds, 600.0), start, len(part) * bin_seconds, mean_rps
        )
        for part in (judged, other)
    )
    assert one.factor == two.factor
    assert one.factor == pytest.approx(mean_rps / (sum(history) / (len(history) * bin_seconds)))
    assert one.history is not None
    assert two.history is not None
    assert one.history.requests.tolist() == two.history.requests.tolist()
    assert one.history.mean_rps == pytest.approx(mean_rps)
    total = one.judged.requests.sum()
    assert total == pytest.approx(sum(judged) * one.factor, rel=1e-6, abs=1e-6 * one.factor)
    assert one.judged.start_seconds == start
    assert one.coarse == (bin_seconds > COARSE_BIN_SECONDS)


def test_without_a_part_before_the_whole_file_is_the_scale() -> None:
    split = split_trace(Trace(np.array([60.0, 180.0]), 60.0), mean_rps=4.0)
    assert split.history is None
    assert split.factor == 2.0
    assert split.judged.requests.tolist() == [120.0, 360.0]


def test_unscaled_is_as_in_the_file() -> None:
    split = split_trace(Trace(np.array([60.0, 180.0]), 60.0), start_seconds=60.0)
    assert split.factor == 1.0
    assert split.judged.requests.tolist() == [180.0]
    assert split.history is not None
    assert split.history.requests.tolist() == [60.0]


def test_a_day_is_judged_unless_asked_otherwise() -> None:
    trace = Trace(np.ones(3 * 1440), 60.0)
    assert split_trace(trace).judged.duration_seconds == 86_400.0
    assert split_trace(trace, start_seconds=2.5 * 86_400).judged.duration_seconds == 43_200.0
    assert split_trace(trace, duration_seconds=100_020.0).judged.duration_seconds == 100_020.0


@pytest.mark.parametrize("start", [240.0, 300.0, 1e9])
def test_a_start_beyond_the_end_is_refused(start: float) -> None:
    with pytest.raises(InputError, match=r"load: start .* at or beyond the end of the trace \(240 s\)"):
        split_trace(Trace(np.ones(4), 60.0, name="load"), start_seconds=start)


@pytest.mark.parametrize(("start", "duration"), [(-60.0, 60.0), (120.0, 180.0), (120.0, 0.0)])
def test_a_part_outside_is_refused(start: float, duration: float) -> None:
    with pytest.raises(InputError, match="load: the part from"):
        split_trace(Trace(np.ones(4), 60.0, name="load"), start, duration)


def test_nothing_to_scale_by_is_refused() -> None:
    trace = Trace(np.array([0.0, 0.0, 5.0, 5.0]), 60.0, name="load")
    with pytest.raises(InputError, match="load: no requests before 120 s"):
        split_trace(trace, start_seconds=120.0, mean_rps=10.0)


def test_every_published_trace_reads(traces_dir: Path) -> None:
    listed = json.loads((traces_dir / "MANIFEST.json").read_text())["traces"]
    rates = [entry for entry in listed if entry["kind"] == "request_rate"]
    assert rates
    for entry in rates:
        path = traces_dir / entry["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"], path
        trace = read_trace(path)
        assert trace.sha256 == entry["sha256"]
        assert trace.bin_seconds == entry["bin_seconds"]
        assert len(trace.requests) == entry["n"]
        assert trace.duration_seconds == entry["duration_s"]
