"""Arrivals: what each process promises, however time is cut."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from simulator.arrays import Floats
from simulator.arrivals import (
    ArrivalProcess,
    DeterministicArrivals,
    LoggedArrivals,
    PoissonArrivals,
    make_arrivals,
)
from simulator.modulated import LevelPath, ModulatedArrivals
from simulator.processes import ArrivalSettings, DeterministicProcess, ModulatedProcess, PoissonProcess
from simulator.theory import mmpp_dispersion
from simulator.trace import Trace

BASE_SEED = int(os.environ.get("SETPOINT_SEED", "20240"))
LEVEL = 0.001
Z = float(stats.norm.ppf(1 - LEVEL / 2))
BURSTY = ModulatedProcess(levels=(1, 100), mean_sojourn_seconds=(9, 1))
ON_OFF = ModulatedProcess(levels=(0, 3, 1), mean_sojourn_seconds=(4, 2, 30))
RING = ModulatedProcess(
    levels=(1, 2, 5), mean_sojourn_seconds=(1, 2, 3), transitions=((0, 0.9, 0.1), (0, 0, 1), (1, 0, 0))
)
PROCESSES: list[ArrivalSettings] = [PoissonProcess(), DeterministicProcess(), BURSTY, ON_OFF, RING]


def arrivals_of(process: ArrivalSettings, trace: Trace, seed: int = 5) -> ArrivalProcess:
    return make_arrivals(process, trace, np.random.SeedSequence([BASE_SEED, seed]))


def log_of(times: list[float], start_seconds: float, duration_seconds: float) -> Trace:
    counts = np.array([float(len(times))])
    return Trace(counts, duration_seconds, start_seconds, times_seconds=np.array(sorted(times)))


def assert_normal(score: float) -> None:
    assert abs(score) <= Z, f"z = {score:.2f}"


# --- cutting time ------------------------------------------------------------------------------


COUNTS = st.lists(st.sampled_from([0.0, 0.4, 3.0, 60.0, 900.0]), min_size=1, max_size=10)
CUTS = st.lists(st.floats(0, 650), max_size=10)


def assert_cut_invariant(whole: ArrivalProcess, cut: ArrivalProcess, cuts: list[float], end: float) -> Floats:
    times = whole.until(end)
    inside = [*sorted(cuts), end]
    parts = [cut.until(until) for until in inside]
    assert np.concatenate(parts).tobytes() == times.tobytes()
    assert (np.diff(times) >= 0).all()
    for index, (until, part) in enumerate(zip(inside, parts, strict=True)):
        assert (part < until).all()
        assert (part >= (inside[index - 1] if index else 0.0)).all()
    return times


@settings(deadline=None, max_examples=150)
@given(
    process=st.sampled_from(PROCESSES),
    counts=COUNTS,
    cuts=CUTS,
    bin_seconds=st.sampled_from([0.7, 1.0, 60.0]),
)
def test_arrivals_are_the_same_however_time_is_cut(
    process: ArrivalSettings, counts: list[float], cuts: list[float], bin_seconds: float
) -> None:
    trace = Trace(np.array(counts), bin_seconds)
    times = assert_cut_invariant(
        arrivals_of(process, trace), arrivals_of(process, trace), cuts, max(trace.duration_seconds, *cuts, 0)
    )
    assert all(counts[int(time / bin_seconds)] > 0 for time in times)
    assert times.size == 0 or times[-1] < trace.duration_seconds


@settings(deadline=None)
@given(
    times=st.lists(st.floats(0, 600) | st.integers(0, 600).map(float), max_size=30),
    cuts=CUTS,
    start=st.sampled_from([0.0, 1 / 3, 1.7e9]),
)
def test_logged_arrivals_are_the_same_however_time_is_cut(
    times: list[float], cuts: list[float], start: float
) -> None:
    logged = np.array(sorted(start + time for time in times))
    got = assert_cut_invariant(LoggedArrivals(logged, start), LoggedArrivals(logged, start), cuts, 700.0)
    assert got.tobytes() == (logged - start).tobytes()


@settings(deadline=None, max_examples=30)
@given(mean=st.sampled_from([0.001, 0.01, 1.0]), cuts=st.lists(st.floats(0, 20), max_size=5))
def test_a_chain_that_jumps_often_is_the_same_however_time_is_cut(mean: float, cuts: list[float]) -> None:
    process = ModulatedProcess(levels=(0, 7), mean_sojourn_seconds=(mean, 2 * mean))
    trace = Trace(np.array([500.0, 0.0, 20_000.0, 10.0]), 5.0)
    assert_cut_invariant(arrivals_of(process, trace), arrivals_of(process, trace), cuts, 20.0)


# --- what comes when ---------------------------------------------------------------------------


def test_the_seed_alone_decides_and_stays_as_it_is() -> None:
    trace = Trace(np.full(20, 50.0), 10.0)
    for process in PROCESSES:
        sequence = np.random.SeedSequence(BASE_SEED)
        one, two = (make_arrivals(process, trace, sequence).until(200.0) for _ in range(2))
        assert one.tobytes() == two.tobytes()
        assert sequence.n_children_spawned == 0
        other = make_arrivals(process, trace, np.random.SeedSequence(BASE_SEED + 1)).until(200.0)
        assert (other.tobytes() == one.tobytes()) == isinstance(process, DeterministicProcess)


@pytest.mark.parametrize(
    ("process", "kind"),
    [
        (PoissonProcess(), PoissonArrivals),
        (DeterministicProcess(), DeterministicArrivals),
        (BURSTY, ModulatedArrivals),
    ],
)
def test_each_process_has_its_arrivals(process: ArrivalSettings, kind: type[ArrivalProcess]) -> None:
    assert isinstance(arrivals_of(process, Trace(np.ones(2), 1.0)), kind)


def test_poisson_arrivals_are_those_of_the_generator() -> None:
    """The first draws of the generator, added up and put through the inverse of the cumulative count."""
    trace = Trace(np.array([300.0, 0.0, 30.0, 600.0]), 60.0)
    times = make_arrivals(PoissonProcess(), trace, np.random.SeedSequence(3)).until(240.0)
    direct = PoissonArrivals(trace, np.random.default_rng(np.random.SeedSequence(3)))
    assert direct.until(240.0).tobytes() == times.tobytes()
    counts = np.cumsum(np.random.default_rng(np.random.SeedSequence(3)).standard_exponential(8192))
    counts = counts[counts < 930.0]
    expected = np.interp(counts, [0.0, 300.0, 300.0 + 1e-9, 330.0, 930.0], [0.0, 60.0, 120.0, 180.0, 240.0])
    np.testing.assert_allclose(times, expected, rtol=1e-9)


def test_arrivals_are_poisson_with_the_rate_of_the_trace() -> None:
    counts = np.array([0.0, 40.0, 100.0, 10.0])
    trace = Trace(counts, 60.0)
    runs = 400
    arrivals = [PoissonArrivals(trace, np.random.default_rng([BASE_SEED, run])) for run in range(runs)]
    seen = np.array([np.histogram(each.until(240.0), bins=4, range=(0.0, 240.0))[0] for each in arrivals])
    assert (seen[:, 0] == 0).all()
    for index in (1, 2, 3):
        assert_normal((seen[:, index].sum() - runs * counts[index]) / math.sqrt(runs * counts[index]))
        dispersion = seen[:, index].var(ddof=1) / seen[:, index].mean() * (runs - 1)
        low, high = stats.chi2.ppf([LEVEL / 2, 1 - LEVEL / 2], runs - 1)
        assert low <= dispersion <= high
    pair = np.corrcoef(seen[:, 1], seen[:, 2])[0, 1]
    assert_normal(pair * math.sqrt(runs))


def test_deterministic_arrivals_are_even_in_the_expected_count() -> None:
    trace = Trace(np.array([4.0, 0.0, 0.5, 2.0]), 8.0)
    times = arrivals_of(DeterministicProcess(), trace).until(32.0)
    # Counts 1/2, 3/2, 5/2, 7/2 in the first bin, 9/2 at the start of the last, then 11/2.
    assert times.tolist() == [1.0, 3.0, 5.0, 7.0, 24.0, 28.0]


def test_a_steady_deterministic_rate_has_equal_gaps() -> None:
    times = arrivals_of(DeterministicProcess(), Trace(np.full(4096, 32.0), 1.0)).until(4096.0)
    assert times.tolist() == [(n - 0.5) / 32 for n in range(1, 4096 * 32 + 1)]


@settings(deadline=None)
@given(COUNTS)
def test_deterministic_counts_are_the_expected_ones_rounded(counts: list[float]) -> None:
    trace = Trace(np.array(counts), 60.0)
    arrivals = DeterministicArrivals(trace)
    seen = 0
    for index in range(len(counts)):
        seen += len(arrivals.until(60.0 * (index + 1)))
        assert abs(seen - sum(counts[: index + 1])) <= 0.5 + 1e-9


# --- in bursts ---------------------------------------------------------------------------------


def bursts(process: ModulatedProcess, trace: Trace, runs: int) -> list[Floats]:
    return [arrivals_of(process, trace, 1000 + run).until(trace.duration_seconds) for run in range(runs)]


@pytest.mark.parametrize("process", [BURSTY, ON_OFF, RING])
def test_modulated_arrivals_keep_the_counts_of_the_trace_in_the_mean(process: ModulatedProcess) -> None:
    counts = np.array([40.0, 0.0, 200.0])
    runs = 1500
    seen = np.array(
        [
            np.histogram(times, bins=3, range=(0.0, 30.0))[0]
            for times in bursts(process, Trace(counts, 10.0), runs)
        ]
    )
    assert (seen[:, 1] == 0).all()
    for index in (0, 2):
        error = seen[:, index].std(ddof=1) / math.sqrt(runs)
        assert_normal((seen[:, index].mean() - counts[index]) / error)


@pytest.mark.parametrize(("levels", "sojourns"), [((1.0, 100.0), (9.0, 1.0)), ((0.0, 1.0), (2.0, 3.0))])
def test_the_dispersion_of_counts_is_that_of_an_mmpp(
    levels: tuple[float, float], sojourns: tuple[float, float]
) -> None:
    """The squares of centred counts, one window a run, have the exact variance as their mean."""
    process = ModulatedProcess(levels=levels, mean_sojourn_seconds=sojourns)
    mean_rps, runs = 4.0, 4000
    factors = process.factors()
    rates = (float(mean_rps * factors[0]), float(mean_rps * factors[1]))
    times = bursts(process, Trace(np.full(32, mean_rps), 1.0), runs)
    for window in (0.5, 4.0, 32.0):
        mean = mean_rps * window
        seen = np.array([np.searchsorted(each, window) for each in times])
        squares = (seen - mean) ** 2 / mean
        error = squares.std(ddof=1) / math.sqrt(runs)
        assert_normal((squares.mean() - mmpp_dispersion(rates, sojourns, window)) / error)


def test_the_dispersion_formula_at_its_ends() -> None:
    assert mmpp_dispersion((3.0, 3.0), (1.0, 5.0), 10.0) == 1.0
    assert mmpp_dispersion((0.0, 9.0), (1.0, 5.0), 1e-6) == pytest.approx(1.0, abs=1e-5)
    # An interrupted Poisson process with rate 2 when on, leaving each state at rate 1: 1 + 2 a / (2 + 2)^2 4.
    assert mmpp_dispersion((0.0, 2.0), (1.0, 1.0), 1e9) == pytest.approx(1 + 2 * 4 / (4 * 2))


def test_equal_levels_are_poisson() -> None:
    process = ModulatedProcess(levels=(7, 7, 7), mean_sojourn_seconds=(0.3, 1, 4))
    trace = Trace(np.array([900.0, 0.0, 3.0, 2000.0]), 60.0)
    modulated = arrivals_of(process, trace).until(240.0)
    poisson = arrivals_of(PoissonProcess(), trace).until(240.0)
    np.testing.assert_allclose(modulated, poisson, rtol=1e-9)


def test_a_burst_has_a_hundred_times_the_rate() -> None:
    sequence = np.random.SeedSequence(BASE_SEED)
    of_path, of_units = sequence.spawn(2)
    trace = Trace(np.full(2000, 100.0), 1.0)
    arrivals = ModulatedArrivals(
        trace, LevelPath(BURSTY, np.random.default_rng(of_path)), np.random.default_rng(of_units)
    )
    times = arrivals.until(trace.duration_seconds)
    ends, states, _ = LevelPath(BURSTY, np.random.default_rng(of_path)).next_block()
    inside = np.diff(np.minimum(ends, trace.duration_seconds), prepend=0.0)
    state_of = states[np.searchsorted(ends, times, side="right")]
    assert BURSTY.factors() == pytest.approx([1 / 10.9, 100 / 10.9])
    for state, factor in enumerate(BURSTY.factors()):
        expected = 100.0 * factor * inside[states == state].sum()
        assert_normal((np.count_nonzero(state_of == state) - expected) / math.sqrt(expected))


def test_an_off_state_has_no_arrivals() -> None:
    trace = Trace(np.full(500, 50.0), 1.0)
    process = ModulatedProcess(levels=(0, 1), mean_sojourn_seconds=(5, 5))
    rng = np.random.default_rng
    times = ModulatedArrivals(trace, LevelPath(process, rng(1)), rng(2)).until(500.0)
    ends, states, _ = LevelPath(process, rng(1)).next_block()
    assert len(times) > 1000
    assert (states[np.searchsorted(ends, times)] == 1).all()


def test_memory_stays_flat_over_many_sojourns() -> None:
    """A hundred blocks of the path pass, and what is held of draws and path stays a few blocks."""
    process = ModulatedProcess(levels=(1, 3), mean_sojourn_seconds=(0.01, 0.01))
    arrivals = arrivals_of(process, Trace(np.full(500, 2000.0), 10.0))
    assert isinstance(arrivals, ModulatedArrivals)
    total = 0
    for second in range(1, 5001):
        total += len(arrivals.until(float(second)))
        assert len(arrivals._units._left) <= 4 * 8192
    assert total == pytest.approx(1e6, rel=0.02)


# --- the chain ---------------------------------------------------------------------------------


def walk(process: ModulatedProcess, blocks: int) -> tuple[Floats, Floats]:
    path = LevelPath(process, np.random.default_rng([BASE_SEED, 8]))
    ends, states = zip(*(path.next_block()[:2] for _ in range(blocks)), strict=True)
    return np.diff(np.concatenate(ends), prepend=0.0), np.concatenate(states).astype(np.float64)


@pytest.mark.parametrize("process", [BURSTY, ON_OFF, RING])
def test_sojourns_are_exponential(process: ModulatedProcess) -> None:
    lengths, states = walk(process, 4)
    for state, mean in enumerate(process.mean_sojourn_seconds):
        assert stats.kstest(lengths[states == state], "expon", (0, mean)).pvalue > LEVEL


@pytest.mark.parametrize("process", [BURSTY, ON_OFF, RING])
def test_jumps_go_where_the_transitions_say(process: ModulatedProcess) -> None:
    _, states = walk(process, 4)
    for state, row in enumerate(process.jumps()):
        after = states[1:][states[:-1] == state]
        seen = np.bincount(after.astype(int), minlength=len(row))
        assert (seen[row == 0] == 0).all()
        if np.count_nonzero(row) > 1:
            assert stats.chisquare(seen[row > 0], row[row > 0] * len(after)).pvalue > LEVEL


@pytest.mark.parametrize("process", [BURSTY, ON_OFF, RING])
def test_the_chain_starts_in_its_stationary_distribution(process: ModulatedProcess) -> None:
    runs = 2000
    first = [
        LevelPath(process, np.random.default_rng([BASE_SEED, 9, run])).next_block()[1][0]
        for run in range(runs)
    ]
    seen = np.bincount(first, minlength=len(process.levels))
    assert stats.chisquare(seen, process.stationary() * runs).pvalue > LEVEL


def test_the_stationary_distribution_balances_the_flows() -> None:
    generator = RING.jumps() - np.eye(3)
    generator /= np.array(RING.mean_sojourn_seconds)[:, np.newaxis]
    np.testing.assert_allclose(RING.stationary() @ generator, 0, atol=1e-12)
    assert ON_OFF.stationary() == pytest.approx([4 / 36, 2 / 36, 30 / 36])
    assert RING.stationary() @ RING.factors() == pytest.approx(1.0)


# --- logs --------------------------------------------------------------------------------------


def test_a_trace_with_exact_times_is_replayed_whatever_the_process() -> None:
    times = [100.0, 100.25, 100.25, 107.125, 109.875]
    for process in PROCESSES:
        arrivals = arrivals_of(process, log_of(times, 100.0, 10.0))
        assert isinstance(arrivals, LoggedArrivals)
        assert arrivals.until(0.25).tolist() == [0.0]
        assert arrivals.until(7.125).tolist() == [0.25, 0.25]
        assert arrivals.until(10.0).tolist() == [7.125, 9.875]
        assert arrivals.until(11.0).tolist() == []


def test_a_part_of_a_log_is_replayed_from_its_own_start() -> None:
    trace = log_of([0.5, 2.0, 2.5, 3.0], 0.0, 4.0).slice(2.0, 1.0)
    assert arrivals_of(PoissonProcess(), trace).until(1.0).tolist() == [0.0, 0.5]


# --- settings ----------------------------------------------------------------------------------


def test_a_process_is_chosen_by_name() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(ArrivalSettings)
    assert adapter.validate_python({"process": "poisson"}) == PoissonProcess()
    assert adapter.validate_python({"process": "deterministic"}) == DeterministicProcess()
    fields = {"process": "mmpp", "levels": [1, 100], "mean_sojourn_seconds": [9, 1]}
    assert adapter.validate_python(fields) == BURSTY
    with pytest.raises(ValidationError, match="'poisson', 'mmpp', 'deterministic'"):
        adapter.validate_python({"process": "cox"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"levels": (1,), "mean_sojourn_seconds": (1,)}, "levels"),
        ({"levels": (1, -1)}, "levels.1"),
        ({"levels": (1, math.inf)}, "levels.1"),
        ({"levels": (0, 0)}, "levels are all 0"),
        ({"levels": (1, 2, 3)}, "mean_sojourn_seconds has 2 entries and levels 3"),
        ({"mean_sojourn_seconds": (1, 0)}, "mean_sojourn_seconds.1"),
        ({"transitions": ((0, 1),)}, "transitions must have 2 rows of 2"),
        ({"transitions": ((0.5, 0.5), (1, 0))}, r"transitions\[0\]\[0\] is 0.5; must be 0"),
        ({"transitions": ((0, 0.9), (1, 0))}, r"transitions\[0\] add up to 0.9; must add up to 1"),
        (
            {
                "levels": (1, 2, 3),
                "mean_sojourn_seconds": (1, 1, 1),
                "transitions": ((0, 1, 0), (1, 0, 0), (1, 0, 0)),
            },
            "never from state 0 to state 2",
        ),
        ({"rate": 3}, "rate"),
    ],
)
def test_a_chain_that_is_none_is_refused(fields: dict[str, Any], message: str) -> None:
    good = {"levels": (1, 100), "mean_sojourn_seconds": (9, 1)}
    with pytest.raises(ValidationError, match=message):
        ModulatedProcess.model_validate(good | fields)
