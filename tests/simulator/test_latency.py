"""Latency buckets: edges, what the kernel puts in which, and percentiles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.arrays import Ints
from simulator.latency import BUCKETS, bucket_edges_seconds, percentile_seconds
from simulator.slots import Station

EDGES = bucket_edges_seconds()


def bucket_of(latency: float) -> int:
    """Where the kernel counts a request of this service time that does not wait."""
    station = Station(())
    station.open_slots(0, 1)
    station.advance(2.0 * latency + 1.0, np.zeros(1), np.array([latency]))
    counts = station.latency_counts
    assert counts.sum() == 1
    return int(np.argmax(counts))


def counts_of(latencies: list[float]) -> Ints:
    counts = np.zeros(BUCKETS, dtype=np.int64)
    places = np.clip(np.searchsorted(EDGES, latencies, side="right") - 1, 0, BUCKETS - 1)
    np.add.at(counts, places, 1)
    return counts


def test_edges() -> None:
    assert EDGES.shape == (BUCKETS + 1,)
    assert EDGES[0] == 2.0**-14
    assert EDGES[-1] == 2.0**10
    assert (np.diff(EDGES) > 0).all()
    middles = (EDGES[:-1] + EDGES[1:]) / 2
    assert (np.diff(EDGES) / 2 / middles).max() < 0.008


@settings(deadline=None)
@given(st.floats(2.0**-14, 1023.9))
def test_the_kernel_counts_between_the_edges(latency: float) -> None:
    bucket = bucket_of(latency)
    assert EDGES[bucket] <= latency < EDGES[bucket + 1]


@pytest.mark.parametrize("bucket", [0, 1, 63, 64, 700, BUCKETS - 1])
def test_an_edge_belongs_to_the_bucket_above(bucket: int) -> None:
    assert bucket_of(float(EDGES[bucket])) == bucket
    assert bucket_of(float(np.nextafter(EDGES[bucket + 1], 0))) == bucket


@pytest.mark.parametrize(
    ("latency", "bucket"), [(0.0, 0), (1e-9, 0), (6e-5, 0), (1024.0, BUCKETS - 1), (1e6, BUCKETS - 1)]
)
def test_what_is_outside_lands_in_the_end_buckets(latency: float, bucket: int) -> None:
    assert bucket_of(latency) == bucket


@settings(deadline=None)
@given(st.lists(st.floats(1e-4, 1000), min_size=1, max_size=200), st.floats(0.001, 1))
def test_percentiles_are_within_a_bucket(latencies: list[float], fraction: float) -> None:
    rank = max(1, math.ceil(fraction * len(latencies)))
    assert percentile_seconds(counts_of(latencies), fraction) == pytest.approx(
        sorted(latencies)[rank - 1], rel=0.008
    )


def test_percentiles_of_four() -> None:
    counts = counts_of([0.1, 0.2, 0.3, 0.4])
    found = [percentile_seconds(counts, fraction) for fraction in (0.01, 0.25, 0.26, 0.5, 0.75, 0.76, 1.0)]
    assert found == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.3, 0.4, 0.4], rel=0.008)


def test_no_requests_have_no_percentile() -> None:
    assert math.isnan(percentile_seconds(np.zeros(BUCKETS, dtype=np.int64), 0.95))
