"""Samples of a control loop in the bins of a forecaster."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.forecast.binning import Binning

NAN = float("nan")


def test_four_samples_make_a_minute() -> None:
    binning = Binning(60.0)
    found = [binning.add(15.0 * place, np.array([float(place)])) for place in range(1, 9)]
    assert [one.shape for one in found] == [(1, 1) if place % 4 == 3 else (1, 0) for place in range(8)]
    assert found[3] == pytest.approx((1 + 2 + 3 + 4) / 4)
    assert found[7] == pytest.approx((5 + 6 + 7 + 8) / 4)


def test_what_is_missing_is_left_out_and_bins_without_a_sample_are_nan() -> None:
    binning = Binning(60.0)
    assert binning.add(100.0, np.array([[2.0, NAN]])).shape == (1, 2, 0)
    assert binning.add(110.0, np.array([[NAN, NAN]])).shape == (1, 2, 0)
    found = binning.add(290.0, np.array([[9.0, 9.0]]))
    assert found.shape == (1, 2, 3)
    assert found[0, 0] == pytest.approx([2.0, NAN, NAN], nan_ok=True)
    assert np.isnan(found[0, 1]).all()
    assert binning.add(300.0, np.array([[11.0, NAN]]))[0, :, 0] == pytest.approx([10, 9])


def test_bins_may_begin_before_the_first_sample() -> None:
    """As where a history ends at 0: what is shown then is known, and what was not seen after it is a gap."""
    binning = Binning(60.0, first=0)
    assert binning.add(0.0, np.array([5.0])).shape == (1, 0)
    assert binning.place == 0
    found = binning.add(130.0, np.array([7.0]))
    assert found.shape == (1, 2)
    assert np.isnan(found).all()
    assert binning.add(180.0, np.array([9.0])) == pytest.approx(8.0)
    assert binning.place == 3
    with pytest.raises(ValueError, match="no bin before the first sample"):
        Binning(60.0).place  # noqa: B018 - reading it raises


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_no_bin_is_left_out(steps: list[int]) -> None:
    binning = Binning(60.0)
    times = np.cumsum(steps)
    given_out = [binning.add(float(time), np.array(1.0)) for time in times]
    first, last = np.ceil(times[0] / 60) - 1, np.floor(times[-1] / 60)
    assert sum(one.shape[-1] for one in given_out) == max(last - first, 0)
    assert all(np.isnan(one) | (one == 1) for part in given_out for one in part)
