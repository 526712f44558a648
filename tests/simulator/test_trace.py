"""Traces: what is refused and how, and what keeps the number of requests."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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
    ("rows", "counts"),
    [
        (("0,1", "60,2", "180,4", "240,5"), (1, 2, math.nan, 4, 5)),
        (("0,1", "60,2", "120,3", "360,7", "420,8"), (1, 2, 3, math.nan, math.nan, math.nan, 7, 8)),
        (("0,1", "60,nan", "120,", "180,4"), (1, math.nan, math.nan, 4)),
    ],
)
def test_gaps_are_nan_where_they_are_allowed(
    tmp_path: Path, rows: tuple[str, ...], counts: tuple[float, ...]
) -> None:
    trace = read_trace(write(tmp_path, *rows), gaps=True)
    assert trace.bin_seconds == 60.0
    assert np.array_equal(trace.requests, counts, equal_nan=True)
    with pytest.raises(InputError):
        read_trace(write(tmp_path, *rows))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (("0,1", "60,2", "150,4"), ":4: t_seconds goes from 60 to 150"),
        (("0,1", "60,2", "600,4"), ": 3 counts in 11 bins; at least half of them must be known"),
        (
            ("0,1", "60,2", "120,3", "1e22,4"),
            ": t_seconds goes from 0 to 1e+22, more than 1000000000 bins of 60 s",
        ),
        (("0,", "60,nan", "120,4"), ": 1 counts in 3 bins; at least half of them must be known"),
        (("0,1", "60,inf", "120,4"), ":3: requests is 'inf'"),
        (("0,1", "60,-1", "180,4"), ":3: requests is -1"),
    ],
)
def test_what_is_no_gap_is_refused_where_gaps_are_allowed(
    tmp_path: Path, rows: tuple[str, ...], said: str
) -> None:
    path = write(tmp_path, *rows)
    with pytest.raises(InputError) as caught:
        read_trace(path, gaps=True)
    assert str(caught.value).startswith(f"{path}{said}")


def test_wider_bins_with_a_gap_in_them_are_gaps() -> None:
    trace = Trace(np.array([1, 2, math.nan, 4, 5, 6, 7.0]), 60.0)
    assert np.array_equal(trace.resample(120.0).requests, [3, math.nan, 11], equal_nan=True)


@given(
    st.sampled_from([0.0, 0.1, 1e3 + 1 / 3]),
    st.sampled_from([60.0, 700 / 12, 0.1]),
    st.integers(4, 3000),
    st.integers(1, 3),
)
def test_what_comes_after_a_part_is_found_whatever_rounding_does(
    start: float, bin_seconds: float, count: int, cut: int
) -> None:
    trace = Trace(np.arange(1.0, count + 1), bin_seconds, start_seconds=start)
    at = start + cut * bin_seconds
    later = trace.slice(at, trace.end_seconds - at)
    both = later.after(trace.slice(start, at - start))
    assert both.requests.sum() == pytest.approx(trace.requests.sum(), rel=1e-6)


def test_bins_that_are_a_hair_narrower_are_resampled() -> None:
    assert Trace(np.ones(1_300_000), 60.00005).resample(60.0).requests.sum() == pytest.approx(1_300_000)


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=30), st.integers(1, 3))
def test_what_comes_after_a_part_has_its_counts_before_its_own(counts: list[int], cut: int) -> None:
    trace = Trace(np.array(counts, dtype=np.float64), 60.0, start_seconds=600.0)
    earlier = trace.slice(600.0, 60.0 * cut)
    later = trace.slice(600.0 + 60 * cut, 60.0 * (len(counts) - cut))
    both = later.after(earlier)
    assert both.start_seconds == 600.0
    assert both.requests.tolist() == counts
    assert later.after(None) is later
    halves = Trace(np.repeat(earlier.requests / 2, 2), 30.0, start_seconds=600.0)
    assert later.after(halves).requests.tolist() == counts


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


# --- request logs ------------------------------------------------------------------------------


def write_parquet(folder: Path, **columns: Any) -> Path:
    path = folder / "requests.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def names_of(trace: Trace) -> list[str]:
    assert trace.classes is not None
    assert trace.class_index is not None
    return [trace.classes[place] for place in trace.class_index]


def times_of(trace: Trace) -> list[float]:
    assert trace.times_seconds is not None
    return trace.times_seconds.tolist()


@pytest.mark.parametrize("packed", [False, True])
def test_a_log_of_times_is_read_and_counted(tmp_path: Path, *, packed: bool) -> None:
    content = b"\xef\xbb\xbft_seconds\r\n7.25\r\n 3.1 \r\n5\r\n3.1\r\n"
    path = tmp_path / ("log.csv.gz" if packed else "log.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    trace = read_trace(path)
    assert times_of(trace) == [3.1, 3.1, 5.0, 7.25]
    assert (trace.classes, trace.class_index) == (None, None)
    assert (trace.start_seconds, trace.bin_seconds) == (3.0, 1.0)
    assert trace.requests.tolist() == [2.0, 0.0, 1.0, 0.0, 1.0]
    assert trace.name == path.name
    assert trace.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_log_with_classes_keeps_them_beside_their_times(tmp_path: Path) -> None:
    path = write(
        tmp_path, "2,write", "0.5,read", "1, read ", '0.5,"a, b"', "3,nan", header="t_seconds, class"
    )
    trace = read_trace(path)
    assert times_of(trace) == [0.5, 0.5, 1.0, 2.0, 3.0]
    assert trace.classes == ("a, b", "nan", "read", "write")
    assert names_of(trace) == ["read", "a, b", "read", "write", "nan"]
    swapped = read_trace(write(tmp_path, "write,2", "read,0.5", header="class,t_seconds"))
    assert times_of(swapped) == [0.5, 2.0]
    assert names_of(swapped) == ["read", "write"]


@pytest.mark.parametrize("kind", ["string", "large_string", "dictionary"])
def test_a_parquet_log_of_finished_requests_is_sorted(tmp_path: Path, kind: str) -> None:
    names = pa.chunked_array([pa.array(["b", "a"]), pa.array(["c", "b"])])
    classes = names.dictionary_encode() if kind == "dictionary" else names.cast(kind)
    path = write_parquet(
        tmp_path,
        finished_seconds=[1.0, 2.0, 3.0, 4.0],
        arrived_seconds=[0.75, 0.25, 2.5, 1 / 3],
        **{"class": classes},
    )
    trace = read_trace(path)
    assert times_of(trace) == [0.25, 1 / 3, 0.75, 2.5]
    assert names_of(trace) == ["a", "b", "b", "c"]
    assert trace.classes == ("a", "b", "c")
    assert (trace.start_seconds, trace.requests.tolist()) == (0.0, [3.0, 0.0, 1.0])
    assert trace.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_parquet_log_may_hold_whole_seconds_and_no_classes(tmp_path: Path) -> None:
    trace = read_trace(write_parquet(tmp_path, arrived_seconds=[1_700_000_003, 1_700_000_001]))
    assert times_of(trace) == [1_700_000_001.0, 1_700_000_003.0]
    assert trace.start_seconds == 1_700_000_001.0
    assert trace.classes is None


def test_a_log_of_more_than_a_day_is_counted_by_the_minute(tmp_path: Path) -> None:
    day = read_trace(write(tmp_path, "59", "86459", header="t_seconds"))
    assert (day.bin_seconds, day.start_seconds, len(day.requests)) == (1.0, 59.0, 86_401)
    more = read_trace(write(tmp_path, "59", "86459.5", header="t_seconds"))
    assert (more.bin_seconds, more.start_seconds, len(more.requests)) == (60.0, 0.0, 1441)
    assert more.requests.sum() == 2


@pytest.mark.parametrize(
    ("rows", "header", "line", "values"),
    [
        (("0", "-1", "2"), "t_seconds", 3, ("t_seconds", "-1", "at least 0")),
        (("0", "nan", "2"), "t_seconds", 3, ("t_seconds", "'nan'", "finite")),
        (("0", "1", "inf"), "t_seconds", 4, ("t_seconds", "'inf'", "finite")),
        (("0", "1", "1e999"), "t_seconds", 4, ("t_seconds", "'1e999'", "finite")),
        (("0", "soon", "2"), "t_seconds", 3, ("t_seconds", "'soon'", "finite")),
        (("0", "", "2"), "t_seconds", 3, ("t_seconds", "''", "finite")),
        (("0,a", ",b"), "t_seconds,class", 3, ("t_seconds", "''", "finite")),
        (("0,a", "1,"), "t_seconds,class", 3, ("class", "empty", "name")),
        (("5,a", "1,b", "0,  "), "t_seconds,class", 4, ("class", "empty", "name")),
        (("0,a", "1"), "t_seconds,class", 3, ("class", "empty", "name")),
        (("0,5", "1,6"), "t_seconds", 2, ("more values",)),
        (("0,a,c", "1,b,d"), "t_seconds,class", 2, ("more values",)),
    ],
)
def test_a_wrong_row_of_a_log_is_named(
    tmp_path: Path, rows: tuple[str, ...], header: str, line: int, values: tuple[str, ...]
) -> None:
    message = refusal(write(tmp_path, *rows, header=header))
    assert message.startswith(f":{line}: ")
    for value in values:
        assert value in message


@pytest.mark.parametrize(
    ("rows", "header", "part"),
    [
        ((), "t_seconds", "the log is empty"),
        ((), "t_seconds,class", "the log is empty"),
        (("0", "1,7"), "t_seconds", "line 3"),
        (("0", "1e12"), "t_seconds", "times go from 0 to 1000000000000 s"),
        (("0,1",), "t_seconds,t_seconds", "needs one column 'requests'"),
        (("0,1,a",), "t_seconds,bytes,class", "needs one column 'requests'"),
        (("a",), "class", "needs one column 't_seconds'"),
        (("\udcff",), "t_seconds", "not a text file"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, rows: tuple[str, ...], header: str, part: str) -> None:
    path = tmp_path / "load.csv"
    path.write_bytes("\n".join([header, *rows, ""]).encode(errors="surrogateescape"))
    assert part in refusal(path)


@pytest.mark.parametrize(
    ("columns", "part"),
    [
        ({"arrived_seconds": [0.0, -1.0]}, ": row 2: arrived_seconds is -1; must be a finite number of at"),
        ({"arrived_seconds": [0.0, math.nan]}, ": row 2: arrived_seconds is nan; must be"),
        ({"arrived_seconds": [math.inf]}, ": row 1: arrived_seconds is inf; must be"),
        ({"arrived_seconds": [0.0, 1.0, None]}, ": row 3: arrived_seconds is null; must be"),
        ({"arrived_seconds": ["0"]}, ": column 'arrived_seconds' holds string; must be numbers"),
        ({"arrived_seconds": pa.array([], pa.float64())}, ": the log is empty"),
        ({"t_seconds": [0.0], "class": ["a"]}, "needs one column 'arrived_seconds'; the header has 't_sec"),
        ({"arrived_seconds": [0.0, 1.0], "class": ["a", None]}, ": row 2: class is empty; must be a name"),
        ({"arrived_seconds": [1.0, 0.0], "class": ["", "a"]}, ": row 1: class is empty; must be a name"),
        ({"arrived_seconds": [0.0], "class": [7]}, ": column 'class' holds int64; must be text"),
    ],
)
def test_a_wrong_parquet_log_is_refused(tmp_path: Path, columns: dict[str, Any], part: str) -> None:
    assert part in refusal(write_parquet(tmp_path, **columns))


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    assert "no such file" in refusal(path)
    for content in (b"", b"t_seconds\n1\n", b"PAR1" + bytes(100) + b"PAR1"):
        path.write_bytes(content)
        assert "not a Parquet file" in refusal(path)
    good = write_parquet(tmp_path, arrived_seconds=np.arange(1000.0)).read_bytes()
    path.write_bytes(good[: len(good) // 2])
    assert "not a Parquet file" in refusal(path)
    folder = tmp_path / "folder.parquet"
    folder.mkdir()
    assert "cannot be read" in refusal(folder)


LOGGED = Trace(
    np.array([2.0, 0.0, 1.0, 1.0]),
    1.0,
    10.0,
    "log.csv",
    times_seconds=np.array([10.0, 10.5, 12.0, 13.75]),
    classes=("read", "write"),
    class_index=np.array([0, 1, 1, 0], dtype=np.int32),
)


def test_a_slice_of_a_log_has_the_requests_within() -> None:
    part = LOGGED.slice(10.5, 1.5)
    assert times_of(part) == [10.5]
    assert names_of(part) == ["write"]
    assert (part.start_seconds, part.bin_seconds, part.requests.tolist()) == (10.5, 0.5, [1.0, 0.0, 0.0])
    assert times_of(LOGGED.slice(12.0, 2.0)) == [12.0, 13.75]
    assert times_of(LOGGED.slice(11.0, 1.0)) == []


@settings(deadline=None)
@given(
    times=st.lists(st.floats(0, 100), min_size=1, max_size=50),
    start=st.sampled_from([0.0, 1.0, 12.5, 33.3]),
    duration=st.sampled_from([0.3, 1.0, 7.25, 10 * math.pi]),
)
def test_the_counts_of_a_slice_of_a_log_are_those_of_its_times(
    times: list[float], start: float, duration: float
) -> None:
    exact = np.array(sorted(times))
    counts = np.histogram(exact, bins=101, range=(0.0, 101.0))[0].astype(float)
    part = Trace(counts, 1.0, times_seconds=exact).slice(start, duration)
    inside = [time for time in sorted(times) if start <= time < start + duration]
    assert times_of(part) == inside
    assert part.requests.sum() == len(inside)
    for index, count in enumerate(part.requests):
        left, right = (start + part.bin_seconds * (index + step) for step in (-1e-6, 1 + 1e-6))
        assert count <= sum(left <= time <= right for time in inside)


def test_a_log_is_split_without_losing_a_request() -> None:
    split = split_trace(LOGGED, start_seconds=12.0)
    assert split.history is not None
    assert times_of(split.history) == [10.0, 10.5]
    assert times_of(split.judged) == [12.0, 13.75]
    assert names_of(split.judged) == ["write", "read"]


def test_exact_times_are_not_scaled() -> None:
    message = r"^log.csv: exact request times cannot be scaled \(leave out --mean-rps\)$"
    with pytest.raises(InputError, match=message):
        LOGGED.scale(2.0)
    with pytest.raises(InputError, match=message):
        split_trace(LOGGED, mean_rps=5.0)
    assert times_of(LOGGED.scale(1.0)) == times_of(LOGGED)


def test_resampling_and_refining_keep_exact_times() -> None:
    wide = LOGGED.resample(2.0)
    assert wide.requests.tolist() == [2.0, 2.0]
    assert times_of(wide) == times_of(LOGGED)
    short = LOGGED.resample(3.0)
    assert short.requests.tolist() == [3.0]
    assert times_of(short) == [10.0, 10.5, 12.0]
    assert names_of(short) == ["read", "write", "write"]
    coarse = Trace(np.array([1.0, 2.0]), 120.0, times_seconds=np.array([70.0, 130.0, 131.0])).refine()
    assert (coarse.bin_seconds, coarse.requests.tolist()) == (60.0, [0.0, 1.0, 2.0, 0.0])
    assert times_of(coarse) == [70.0, 130.0, 131.0]


def test_a_log_is_written_as_counts(tmp_path: Path) -> None:
    write_trace(LOGGED, tmp_path / "counts.csv")
    read = read_trace(tmp_path / "counts.csv")
    assert read.requests.tolist() == LOGGED.requests.tolist()
    assert read.times_seconds is None


def test_a_log_of_many_requests_holds_each_time_and_class(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    times = np.round(rng.random(300_000) * 3600, 6)
    path = tmp_path / "long.csv"
    kinds = np.array(["read", "write"])[rng.integers(0, 2, len(times))].tolist()
    rows = [f"{time!r},{kind}" for time, kind in zip(times.tolist(), kinds, strict=True)]
    path.write_text("\n".join(["t_seconds,class", *rows, ""]))
    trace = read_trace(path)
    assert trace.times_seconds is not None
    assert trace.times_seconds.tobytes() == np.sort(times).tobytes()
    assert names_of(trace) == [kinds[place] for place in np.argsort(times, kind="stable")]


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
