"""Latency buckets: fixed logarithmic ones, as in HdrHistogram.

Each octave from 2**-14 s (61 us) to 2**10 s (17 min) is cut into 64 equal parts, so that a
bucket's middle is within 0.8 % of every latency in it. Latencies outside land in the end buckets.
Source: G. Tene, HdrHistogram, 2012 (exponent and leading mantissa bits as the index).
"""

from __future__ import annotations

import numpy as np

from simulator.arrays import Floats, Ints

_PARTS_BITS = 6
_LOWEST_EXPONENT = -14
_OCTAVES = 24
_MANTISSA_BITS = 52

BUCKETS = _OCTAVES << _PARTS_BITS
"""Number of buckets, axis B."""

SHIFT = _MANTISSA_BITS - _PARTS_BITS
"""How far a float64's bits are shifted right to leave exponent and leading mantissa bits."""

OFFSET = (1023 + _LOWEST_EXPONENT) << _PARTS_BITS
"""What is taken off the shifted bits so that 2**-14 s has bucket 0."""


def bucket_edges_seconds() -> Floats:
    """Lower edges of all buckets and the upper edge of the last: float64 ``(B + 1,)``, seconds."""
    octaves = np.repeat(2.0 ** np.arange(_LOWEST_EXPONENT, _LOWEST_EXPONENT + _OCTAVES), 1 << _PARTS_BITS)
    parts = np.tile(1.0 + np.arange(1 << _PARTS_BITS) / (1 << _PARTS_BITS), _OCTAVES)
    return np.append(octaves * parts, 2.0 ** (_LOWEST_EXPONENT + _OCTAVES))


_EDGES = bucket_edges_seconds()
_MIDDLES = (_EDGES[:-1] + _EDGES[1:]) / 2


def percentile_seconds(counts: Ints, fraction: float) -> float:
    """The latency that ``fraction`` of the requests stay within, to 0.8 %; NaN without requests.

    Args:
        counts: int64 ``(B,)``; requests by bucket.
        fraction: in (0, 1].
    """
    cumulative = np.cumsum(counts)
    total = int(cumulative[-1])
    if total == 0:
        return float("nan")
    rank = max(1, int(np.ceil(fraction * total)))
    return float(_MIDDLES[int(np.searchsorted(cumulative, rank))])
