"""VPA's histograms and estimators against tables of cases, upstream's own: tests/cases/README.md."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case_tables import Case, parameters
from hypothesis import given
from hypothesis import strategies as st

from agents.baselines.vpa_estimator import at_least, confidence, with_confidence, with_margin
from agents.baselines.vpa_histogram import (
    Buckets,
    Checkpoint,
    ExponentialBuckets,
    Histogram,
    LinearBuckets,
)
from simulator.errors import InputError

TABLES = {"vpa_histogram", "vpa_estimator"}
RELATIVE = 1e-12
LOOKED_AT = {
    *("percentiles", "weights", "total_weight", "empty", "checkpoint", "same_as", "reference_s"),
    *("num_buckets", "bucket_starts", "find_bucket"),
}
"""Of what a histogram is expected to be."""


def close(value: float, row: Case) -> Any:
    return pytest.approx(value, rel=row.get("rel_tol", RELATIVE), abs=0)


def buckets_of(options: Case) -> Buckets:
    if options["type"] == "linear":
        return LinearBuckets(options["max_value"], options["bucket_size"], options["epsilon"])
    assert options["type"] == "exponential"
    first = options["first_bucket_size"] if "first_bucket_size" in options else options["first_bucket"]
    return ExponentialBuckets(options["max_value"], first, options["ratio"], options["epsilon"])


def checkpoint_of(row: Case) -> Checkpoint:
    weights = {int(bucket): weight for bucket, weight in row.get("bucket_weights", {}).items()}
    references = [value for name, value in row.items() if name.startswith("reference")]
    return Checkpoint(row["total_weight"], weights, *references)


def histogram_of(row: Case, ops: list[list[Any]]) -> Histogram:
    histogram = Histogram(buckets_of(row["options"]), row["half_life_s"])
    for name, *rest in ops:
        if name in {"add", "sub"}:
            sample = [np.array(float(number)) for number in rest]
            (histogram.add if name == "add" else histogram.subtract)(*sample)
        elif name == "merge":
            histogram.merge(histogram_of(row, rest[0]))
        elif name == "load":
            histogram.load(checkpoint_of(rest[0]))
        else:
            assert name == "save_and_reload"
            kept = histogram.save()
            histogram = Histogram(histogram.buckets, row["half_life_s"])
            histogram.load(kept)
    return histogram


def pairs(given: Any) -> list[tuple[int, float]]:
    """Weights by bucket, however a row writes them."""
    if isinstance(given, dict):
        return [(int(bucket), weight) for bucket, weight in given.items()]
    if given and isinstance(given[0], list):
        return [(int(bucket), weight) for bucket, weight in given]
    return list(enumerate(given))


def check_histogram(row: Case) -> None:
    expected = row["expected"]
    if "error" in expected:
        with pytest.raises(InputError):
            histogram_of(row, row["ops"])
        return
    assert set(expected) <= LOOKED_AT, "nothing is passed over in silence"
    histogram = histogram_of(row, row["ops"])
    check_buckets(histogram.buckets, expected, row)
    for fraction, value in expected.get("percentiles", []):
        assert float(histogram.percentile(fraction)) == close(value, row), fraction
    for bucket, weight in pairs(expected.get("weights", [])):
        assert float(histogram.weights[bucket]) == close(weight, row)
    if "total_weight" in expected:
        assert float(histogram.total_weight) == close(expected["total_weight"], row)
    if "empty" in expected:
        assert bool(histogram.empty) is expected["empty"]
    if "reference_s" in expected:
        assert float(histogram.reference_seconds) == expected["reference_s"]
    if "checkpoint" in expected:
        check_checkpoint(histogram.save(), expected["checkpoint"], row)
    if "same_as" in expected:
        same = histogram_of(row, expected["same_as"])
        np.testing.assert_allclose(histogram.weights, same.weights, rtol=RELATIVE, atol=1e-15)
        assert histogram.reference_seconds == same.reference_seconds
        assert float(histogram.total_weight) == close(float(same.total_weight), row)


def check_buckets(buckets: Buckets, expected: Case, row: Case) -> None:
    if "num_buckets" in expected:
        assert buckets.count == expected["num_buckets"]
    for bucket, start in expected.get("bucket_starts", []):
        assert float(buckets.start(np.array(bucket))) == close(start, row)
    for value, bucket in expected.get("find_bucket", []):
        assert int(buckets.find(np.array(float(value)))) == bucket


def check_checkpoint(found: Checkpoint, expected: Case, row: Case) -> None:
    if "total_weight" in expected:
        assert found.total_weight == close(expected["total_weight"], row)
    if "bucket_weights" in expected:
        assert found.bucket_weights == dict(pairs(expected["bucket_weights"]))
    for name, value in expected.items():
        if name.startswith("reference"):
            assert found.reference_seconds == value


def check_estimator(row: Case) -> None:
    amount, expected = np.array(row["base_amount"]), row["expected"]
    if row["kind"] == "margin":
        found = with_margin(amount, row["margin_fraction"])
    elif row["kind"] == "min_resource":
        found = at_least(amount, row["min_amount"])
    else:
        assert row["kind"] == "confidence_multiplier"
        confident = confidence(np.array(row["sample_count"]), np.array(row["lifespan_s"]), row["interval_s"])
        if "confidence" in expected:
            assert float(confident) == close(expected["confidence"], row)
        found = with_confidence(amount, row["multiplier"], row["exponent"], confident)
    assert set(expected) <= {"confidence", "amount"}
    assert int(found) == expected.get("amount", int(found))


@pytest.mark.parametrize(("table", "row"), parameters(TABLES))
def test_case(table: str, row: Case) -> None:
    if table == "vpa_histogram":
        assert row["kind"] == "histogram"
        check_histogram(row)
    else:
        check_estimator(row)


def test_the_tables_are_there() -> None:
    assert {parameter.values[0] for parameter in parameters(TABLES)} == TABLES


CPU = ExponentialBuckets(1000.0, 0.01, 1.05, 0.0001)
"""Of the default options for CPU."""


def test_exponential_buckets() -> None:
    """Upstream's TestExponentialHistogramOptions."""
    buckets = ExponentialBuckets(100.0, 10.0, 2.0, 0.001)
    assert buckets.count == 5
    assert buckets.start(np.arange(5)).tolist() == [0, 10, 30, 70, 150]
    values = [-1.0, 0.0, 9.99, 10.0, 29.99, 30.0, 69.99, 70.0, 149.99, 150.0, 1e9]
    assert buckets.find(np.array(values)).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LinearBuckets(-1.0, 1.0, 1.0), "max_value is -1: only a number above 0"),
        (lambda: LinearBuckets(1.0, 0.0, 1.0), "bucket_size is 0"),
        (lambda: ExponentialBuckets(1.0, 1.0, 1.0, 1.0), "ratio is 1: only a number above 1"),
        (lambda: ExponentialBuckets(1.0, 1.0, 2.0, 0.0), "epsilon is 0"),
        (lambda: CPU.start(np.array([0, 200])), "bucket is out of range"),
        (lambda: Histogram(CPU).merge(Histogram(CPU, 60.0)), "differ in half_life_seconds"),
        (lambda: Histogram(CPU).load(Checkpoint(-1.0, {})), "total_weight is -1"),
    ],
)
def test_what_is_refused(make: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_far_ahead_the_reference_moves_and_nothing_changes_but_the_scale() -> None:
    histogram, day = Histogram(CPU, 86_400.0), 86_400.0
    histogram.add(np.array(1.0), np.array(1.0), np.array(0.4 * day))
    assert histogram.reference_seconds == 0.0
    histogram.add(np.array(2.0), np.array(1.0), np.array(100.0 * day))
    assert histogram.reference_seconds == 0.0
    histogram.add(np.array(2.0), np.array(1.0), np.array(100.5 * day))
    assert histogram.reference_seconds == 101 * day, "halves go up"
    assert float(histogram.total_weight) == pytest.approx(0.5 + 2**-0.5 + 2**-100.6)


def test_a_checkpoint_keeps_the_reference() -> None:
    histogram = Histogram(CPU, 3600.0)
    histogram.add(np.array(2.0), np.array(1.0), np.array(360_000.0))
    kept = histogram.save()
    assert kept.reference_seconds == 360_000.0
    again = Histogram(CPU, 3600.0)
    again.load(kept)
    assert again.reference_seconds == 360_000.0
    assert float(again.percentile(0.5)) == float(histogram.percentile(0.5))


SAMPLES = st.lists(
    st.tuples(st.floats(0, 50), st.floats(0.1, 10), st.floats(0, 1e6), st.booleans()), min_size=1, max_size=20
)


@given(SAMPLES, SAMPLES)
def test_many_histograms_are_as_many_alone(
    first: list[tuple[float, float, float, bool]], second: list[tuple[float, float, float, bool]]
) -> None:
    together = Histogram(CPU, 3600.0, (2,))
    alone = [Histogram(CPU, 3600.0) for _ in range(2)]
    for both in zip(first, second, strict=False):
        values, weights, seconds, where = (np.array(column) for column in zip(*both, strict=True))
        together.add(values, weights, seconds, where.astype(bool))
        for one, (value, weight, second_, asked) in zip(alone, both, strict=True):
            if asked:
                one.add(np.array(value), np.array(weight), np.array(second_))
    for fraction in (0.0, 0.5, 0.9, 1.0):
        assert together.percentile(fraction).tolist() == [float(one.percentile(fraction)) for one in alone]
    together.reset(np.array([False, True]))
    assert together.empty.tolist() == [bool(alone[0].empty), True]
