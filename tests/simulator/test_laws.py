"""Service-time laws: their distributions, their moments, and that a time is a function of its key."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy import integrate, stats

from simulator.arrays import Floats
from simulator.laws import draws
from simulator.laws.deterministic import DeterministicLaw
from simulator.laws.empirical import EmpiricalLaw
from simulator.laws.exponential import ExponentialLaw
from simulator.laws.gamma import GammaLaw
from simulator.laws.hyperexponential import HyperexponentialLaw
from simulator.laws.law import ServiceTimeLaw
from simulator.laws.lognormal import LognormalLaw
from simulator.laws.pareto import ParetoLaw
from simulator.randomness import request_key, uniform

SIZE = 200_000
LEVEL = 0.001
SEED = np.uint64(0x5E7B01A7)
KINDS = [
    LognormalLaw,
    ExponentialLaw,
    DeterministicLaw,
    GammaLaw,
    ParetoLaw,
    HyperexponentialLaw,
    EmpiricalLaw,
]
LAWS: TypeAdapter[ServiceTimeLaw] = TypeAdapter(ServiceTimeLaw)
keys = st.integers(0, 2**64 - 1).map(np.uint64)
means = st.floats(1e-6, 3600)
scvs = st.floats(0, 100, exclude_min=True)
times = st.floats(1e-6, 3600)


class Phases:
    """A hyperexponential distribution as the mixture of its phases, shares and means written out."""

    def __init__(self, mean: float, scv: float) -> None:
        root = math.sqrt((scv - 1) / (scv + 1))
        self._shares = ((1 + root) / 2, (1 - root) / 2)
        self._phases = [stats.expon(scale=mean / (2 * share)) for share in self._shares]

    def cdf(self, seconds: Floats) -> Any:
        return sum(
            share * phase.cdf(seconds) for share, phase in zip(self._shares, self._phases, strict=True)
        )

    def moment(self, order: int) -> Any:
        return sum(
            share * phase.moment(order) for share, phase in zip(self._shares, self._phases, strict=True)
        )


def lognormal(mean: float, scv: float) -> Any:
    return stats.lognorm(math.sqrt(math.log1p(scv)), scale=mean / math.sqrt(1 + scv))


def pareto(shape: float) -> tuple[ParetoLaw, Any]:
    law = ParetoLaw(shape=shape, lowest_seconds=0.02, highest_seconds=3.0)
    return law, stats.truncpareto(shape, 150.0, scale=0.02)


CASES: list[tuple[ServiceTimeLaw, Any]] = [
    (ExponentialLaw(mean_seconds=0.2), stats.expon(scale=0.2)),
    (LognormalLaw(mean_seconds=0.2, scv=1.0), lognormal(0.2, 1.0)),
    (LognormalLaw(mean_seconds=3.0, scv=0.2), lognormal(3.0, 0.2)),
    *(
        (GammaLaw(mean_seconds=0.2, scv=1 / shape), stats.gamma(shape, scale=0.2 / shape))
        for shape in (0.05, 1 / 3, 1, 4, 1e4)
    ),
    *(pareto(shape) for shape in (0.5, 1.0, 1.5, 2.0, 3.0)),
    *((HyperexponentialLaw(mean_seconds=0.2, scv=scv), Phases(0.2, scv)) for scv in (1.0, 2.0, 50.0)),
]
every_case = pytest.mark.parametrize(
    ("law", "distribution"), CASES, ids=[repr(law).replace(" ", "") for law, _ in CASES]
)


@every_case
def test_draws_have_their_distribution(law: ServiceTimeLaw, distribution: Any) -> None:
    seconds = draws.sample(law, SEED, SIZE)
    assert seconds.shape == (SIZE,)
    assert seconds.dtype == np.float64
    assert stats.kstest(seconds, distribution.cdf).pvalue > LEVEL


@every_case
def test_draws_have_their_mean_and_variance(law: ServiceTimeLaw, distribution: Any) -> None:
    first, second, third, fourth = (float(distribution.moment(order)) for order in (1, 2, 3, 4))
    variance = second - first**2
    assert law.mean_seconds == pytest.approx(first)
    assert law.scv == pytest.approx(variance / first**2)
    peak = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    off = draws.sample(law, SEED, SIZE) - law.mean_seconds
    of_mean = off.mean() / math.sqrt(variance / SIZE)
    of_scv = ((off**2).mean() / law.mean_seconds**2 - law.scv) * first**2
    of_scv /= math.sqrt((peak - variance**2) / SIZE)
    bound = stats.norm.isf(LEVEL / 2)
    assert abs(of_mean) < bound
    assert abs(of_scv) < bound


def test_deterministic_is_always_the_same() -> None:
    law = DeterministicLaw(mean_seconds=0.3)
    assert draws.sample(law, SEED, 3).tolist() == [0.3, 0.3, 0.3]
    assert law.scv == 0.0


@given(shape=st.floats(0.01, 100), lowest=st.floats(1e-6, 3599), ratio=st.floats(1.001, 3.6e9))
def test_pareto_has_the_moments_of_its_density(shape: float, lowest: float, ratio: float) -> None:
    law = ParetoLaw(shape=shape, lowest_seconds=lowest, highest_seconds=min(3600.0, lowest * ratio))
    span = math.log(law.highest_seconds / law.lowest_seconds)

    def moment(order: int) -> float:
        """Over the logarithm, from the end that weighs most, so that the integrand is at most 1."""
        excess = order - shape
        value, _ = integrate.quad(
            lambda y: math.exp(excess * y - max(0.0, excess) * span),
            0,
            span,
            points=sorted({min(span, 1 / shape), max(0.0, span - 1 / max(excess, 1e-2))}),
            epsabs=0,
            epsrel=1e-10,
            limit=200,
        )
        return float(value) * math.exp(max(0.0, excess) * span)

    whole, first, second = (moment(order) for order in range(3))
    assert law.mean_seconds == pytest.approx(lowest * first / whole, rel=1e-7)
    assert 1 + law.scv == pytest.approx(second * whole / first**2, rel=1e-7)


@pytest.mark.parametrize("pole", [1.0, 2.0])
def test_pareto_is_smooth_where_a_moment_has_another_formula(pole: float) -> None:
    at, *near = (
        ParetoLaw(shape=shape, lowest_seconds=0.02, highest_seconds=3.0)
        for shape in (pole, math.nextafter(pole, 0), pole - 1e-12, pole + 1e-12)
    )
    for law in near:
        assert law.mean_seconds == pytest.approx(at.mean_seconds, rel=1e-10)
        assert law.scv == pytest.approx(at.scv, rel=1e-10)


@pytest.mark.parametrize(
    "weights",
    [None, (1.0,) * 7, (1.0, 2.0, 3.0, 4.0, 0.5, 0.25, 100.0), (0.0, 1e-3, 0.0, 2e-3, 5e-3, 1e-3, 0.0)],
)
def test_measured_times_are_drawn_as_often_as_they_weigh(weights: tuple[float, ...] | None) -> None:
    values = (0.5, 0.1, 2.0, 0.7, 0.3, 9.0, 1.0)
    law = EmpiricalLaw(values_seconds=values, weights=weights)
    seconds = draws.sample(law, SEED, SIZE)
    seen = np.array([np.count_nonzero(seconds == value) for value in values])
    shares = np.array(weights or (1.0,) * 7) / sum(weights or (1.0,) * 7)
    assert seen.sum() == SIZE
    assert not seen[shares == 0].any()
    drawn = shares > 0
    assert stats.chisquare(seen[drawn], shares[drawn] * SIZE).pvalue > LEVEL
    mean = shares @ np.array(values)
    variance = shares @ (np.array(values) - mean) ** 2
    assert law.mean_seconds == pytest.approx(mean)
    assert law.scv == pytest.approx(variance / mean**2)
    assert abs(seconds.mean() - mean) < stats.norm.isf(LEVEL / 2) * math.sqrt(variance / SIZE)


@given(
    st.lists(
        st.tuples(times, st.floats(0, 1e300)), min_size=1, max_size=50, unique_by=lambda pair: pair[0]
    ).filter(lambda pairs: any(weight for _, weight in pairs))
)
def test_the_alias_table_holds_the_weights(pairs: list[tuple[float, float]]) -> None:
    values, weights = zip(*pairs, strict=True)
    law = EmpiricalLaw(values_seconds=values, weights=weights)
    size, *entries = law.parameters()
    largest = max(weights)
    drawn = {value for value, weight in pairs if weight / largest > 0}
    shares = dict.fromkeys(values, 0.0)
    for threshold, below, above in np.array(entries).reshape(int(size), 3).tolist():
        assert 0 <= threshold <= 1
        assert below in drawn
        assert above in drawn
        shares[below] += threshold / size
        shares[above] += (1 - threshold) / size
    whole = math.fsum(weight / largest for weight in weights)
    for value, weight in pairs:
        assert shares[value] == pytest.approx(weight / largest / whole, abs=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 4096, 4097, 65_535, 99_999, 100_000])
def test_the_largest_number_draws_the_last_measured_time(size: int) -> None:
    key = np.uint64(0x31628AF67B2131AB)
    assert uniform(key, 0) == math.nextafter(1, 0)
    values = (1.0,) * (size - 1) + (2.0,)
    law = EmpiricalLaw(values_seconds=values)
    assert draws.draw_seconds(law.code, np.array(law.parameters()), 0, key) == values[-1]


@given(st.lists(times, min_size=1, max_size=20), st.floats(1e-3, 1e3))
def test_equal_weights_are_no_weights(values: list[float], weight: float) -> None:
    plain = EmpiricalLaw(values_seconds=tuple(values))
    weighted = EmpiricalLaw(values_seconds=tuple(values), weights=(weight,) * len(values))
    assert plain.parameters() == weighted.parameters()
    assert plain.mean_seconds == weighted.mean_seconds
    assert plain.scv == weighted.scv


def test_a_hundred_thousand_measured_times_are_drawn_evenly() -> None:
    values = np.arange(1, 100_001) / 1000.0
    seconds = draws.sample(EmpiricalLaw(values_seconds=tuple(values.tolist())), SEED, SIZE)
    seen = np.bincount(np.rint(seconds * 1000).astype(np.int64) // 1001, minlength=100)
    edges = np.bincount(np.arange(1, 100_001) // 1001, minlength=100)
    assert stats.chisquare(seen, edges * (SIZE / 100_000)).pvalue > LEVEL


laws = st.one_of(
    st.builds(ExponentialLaw, mean_seconds=means),
    st.builds(DeterministicLaw, mean_seconds=means),
    st.builds(LognormalLaw, mean_seconds=means, scv=scvs),
    st.builds(GammaLaw, mean_seconds=means, scv=scvs),
    st.builds(HyperexponentialLaw, mean_seconds=means, scv=st.floats(1, 100)),
    st.builds(
        lambda shape, ends: ParetoLaw(shape=shape, lowest_seconds=ends[0], highest_seconds=ends[1]),
        st.floats(0.01, 100),
        st.tuples(times, times).map(sorted).filter(lambda ends: ends[0] < ends[1]),
    ),
    st.builds(EmpiricalLaw, values_seconds=st.lists(times, min_size=1, max_size=9).map(tuple)),
)


@given(law=laws, key=keys, before=st.integers(0, 3))
def test_a_key_has_one_time_wherever_the_parameters_lie(
    law: ServiceTimeLaw, key: np.uint64, before: int
) -> None:
    parameters = law.parameters()
    (seconds,) = draws.draw_many(law.code, np.array(parameters), np.array([key]))
    among = np.array([math.nan] * before + [*parameters, math.nan])
    assert draws.draw_seconds(law.code, among, before, key) == seconds
    assert math.isfinite(seconds)
    assert seconds >= 0
    if isinstance(law, ParetoLaw):
        assert law.lowest_seconds <= seconds <= law.highest_seconds
    if isinstance(law, EmpiricalLaw):
        assert seconds in law.values_seconds


@given(law=laws)
def test_moments_are_finite_and_settings_survive_a_round_trip(law: ServiceTimeLaw) -> None:
    assert 0 < law.mean_seconds <= 3600 * (1 + 1e-12)
    assert 0 <= law.scv < math.inf
    assert LAWS.validate_json(law.model_dump_json()) == law


@given(law=laws, seed=keys, size=st.integers(0, 20))
def test_a_sample_is_what_the_first_requests_draw(law: ServiceTimeLaw, seed: np.uint64, size: int) -> None:
    seconds = draws.sample(law, seed, size)
    parameters = np.array(law.parameters())
    for index in range(size):
        key = np.uint64(request_key(seed, index))
        assert draws.draw_seconds(law.code, parameters, 0, key) == seconds[index]
    assert draws.sample(law, seed, 2 * size)[:size].tolist() == seconds.tolist()


@pytest.mark.parametrize("scv", [5e-324, 1e-300, 1e-28, 1e-12])
def test_gamma_of_almost_no_variance_is_its_mean(scv: float) -> None:
    seconds = draws.sample(GammaLaw(mean_seconds=0.2, scv=scv), SEED, 1000)
    np.testing.assert_allclose(seconds, 0.2, rtol=max(1e-14, 6 * math.sqrt(scv)))


@pytest.mark.parametrize("scv", [0.25, 3.0])
def test_gamma_uses_no_number_twice(scv: float, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []

    def uniform(key: int, index: int) -> float:
        used.append(index)
        return 0.999999

    def normal(key: int, index: int) -> float:
        used.extend((2 * index, 2 * index + 1))
        return (-1e9, 1.5, -1.5, 0.1)[index // 2 - 1]

    monkeypatch.setattr(draws, "uniform", uniform)
    monkeypatch.setattr(draws, "normal", normal)
    python: Callable[..., float] = draws._gamma.py_func
    assert python(GammaLaw(mean_seconds=0.2, scv=scv).parameters(), 0, 0) > 0
    assert used == sorted(set(used))
    assert len(used) == (scv > 1) + 2 + 3 * 3  # one of four proposals is below 0, two are refused


def test_another_code_has_no_time() -> None:
    codes = [law.code for law, _ in CASES]
    assert math.isnan(draws.draw_seconds(max(codes) + 100, np.ones(4), 0, SEED))


def test_every_law_has_a_name_and_a_code_of_its_own() -> None:
    names = LAWS.json_schema()["discriminator"]["mapping"]
    assert {kind.model_fields["law"].default for kind in KINDS} == set(names)
    laws = [law for law, _ in CASES]
    laws += [DeterministicLaw(mean_seconds=1), EmpiricalLaw(values_seconds=(1.0,))]
    codes = {type(law): law.code for law in laws}
    assert set(codes) == set(KINDS)
    assert len(set(codes.values())) == len(KINDS)


@pytest.mark.parametrize(
    ("law", "kind"),
    [
        ({"law": "lognormal", "mean_seconds": 1}, LognormalLaw),
        ({"law": "exponential", "mean_seconds": 1}, ExponentialLaw),
        ({"law": "deterministic", "mean_seconds": 1}, DeterministicLaw),
        ({"law": "gamma", "mean_seconds": 1, "scv": 2}, GammaLaw),
        ({"law": "pareto", "shape": 1.5, "lowest_seconds": 0.1, "highest_seconds": 9}, ParetoLaw),
        ({"law": "hyperexponential", "mean_seconds": 1, "scv": 2}, HyperexponentialLaw),
        ({"law": "empirical", "values_seconds": [1, 2], "weights": [3, 0]}, EmpiricalLaw),
    ],
)
def test_the_law_is_chosen_by_its_name(law: dict[str, Any], kind: type) -> None:
    assert type(LAWS.validate_python(law)) is kind


PARETO = {"law": "pareto", "shape": 1.5, "lowest_seconds": 0.1, "highest_seconds": 9}
EMPIRICAL = {"law": "empirical", "values_seconds": [1, 2]}


@pytest.mark.parametrize(
    ("field", "law", "allowed"),
    [
        ("lognormal.mean_seconds", {"law": "lognormal", "mean_seconds": 0}, "greater than 0"),
        ("lognormal.mean_seconds", {"law": "lognormal"}, "required"),
        ("lognormal.scv", {"law": "lognormal", "mean_seconds": 1, "scv": -1}, "greater than 0"),
        ("exponential.scv", {"law": "exponential", "mean_seconds": 1, "scv": 2}, "not permitted"),
        ("deterministic.mean_seconds", {"law": "deterministic", "mean_seconds": math.nan}, "finite"),
        ("gamma.scv", {"law": "gamma", "mean_seconds": 1, "scv": 101}, "less than or equal to 100"),
        ("pareto.shape", PARETO | {"shape": 0}, "greater than or equal to 0.01"),
        ("pareto.lowest_seconds", PARETO | {"lowest_seconds": 0}, "greater than or equal to 0.000001"),
        ("pareto.mean_seconds", PARETO | {"mean_seconds": 1}, "not permitted"),
        (
            "highest_seconds",
            PARETO | {"highest_seconds": 0.1},
            r"\(0.1\) must be above lowest_seconds \(0.1\)",
        ),
        ("highest_seconds", PARETO | {"highest_seconds": 0.05}, "must be above lowest_seconds"),
        (
            "hyperexponential.scv",
            {"law": "hyperexponential", "mean_seconds": 1, "scv": 0.9},
            "greater than or equal to 1",
        ),
        ("hyperexponential.scv", {"law": "hyperexponential", "mean_seconds": 1}, "required"),
        ("empirical.values_seconds", {"law": "empirical"}, "required"),
        (
            "empirical.values_seconds",
            {"law": "empirical", "values_seconds": []},
            "at least 1 item",
        ),
        ("empirical.values_seconds", EMPIRICAL | {"values_seconds": [1] * 100_001}, "at most 100000 items"),
        ("empirical.values_seconds.1", EMPIRICAL | {"values_seconds": [1, 0]}, "greater than 0"),
        ("empirical.values_seconds.0", EMPIRICAL | {"values_seconds": [-1, 1]}, "greater than 0"),
        ("empirical.values_seconds.0", EMPIRICAL | {"values_seconds": [math.inf, 1]}, "finite"),
        ("empirical.weights.1", EMPIRICAL | {"weights": [1, -1]}, "greater than or equal to 0"),
        ("weights", EMPIRICAL | {"weights": [1]}, r"\(1 of them\) must be as many as values_seconds \(2\)"),
        ("weights", EMPIRICAL | {"weights": [0, 0]}, "at least one must be above 0"),
    ],
)
def test_a_wrong_field_is_named(field: str, law: dict[str, Any], allowed: str) -> None:
    with pytest.raises(ValidationError, match=allowed) as caught:
        LAWS.validate_python(law)
    assert field in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described(kind: type[ExponentialLaw]) -> None:
    for name, field in kind.model_fields.items():
        assert name == "law" or field.description, name
