"""Linear regression near the median."""

from __future__ import annotations

import numpy as np

from simulator.arrays import Floats

_RIDGE = 1e-3
_PASSES = 2
_NEAR = 0.5
"""Rows nearer than this share of the median distance weigh the same."""


def regress(table: Floats, wanted: Floats) -> Floats:
    """Weights, float64 ``(F, H)``, of a table ``(n, F)`` for what is wanted, ``(n, H)``.

    Ridge regression, then again with rows weighed by the inverse of how far they were off, which goes towards least
    absolute deviations. Source: Schlossmacher, 1973 (iteratively reweighted least squares).
    """
    weights = _solve(table, wanted)
    for _ in range(_PASSES):
        off = np.abs(wanted - table @ weights).mean(axis=1)
        near = max(float(np.median(off)) * _NEAR, 1e-12)
        weights = _solve(table, wanted, 1.0 / np.maximum(off, near))
    return weights


def _solve(table: Floats, wanted: Floats, importance: Floats | None = None) -> Floats:
    weighed = table if importance is None else table * (importance / importance.mean())[:, np.newaxis]
    square = weighed.T @ table
    scale = np.sqrt(np.diag(square))
    scale[scale == 0] = 1.0
    shrunk = square / np.outer(scale, scale) + _RIDGE * np.eye(len(square))
    solved = np.linalg.solve(shrunk, (weighed.T @ wanted) / scale[:, np.newaxis])
    return np.asarray(solved / scale[:, np.newaxis])
