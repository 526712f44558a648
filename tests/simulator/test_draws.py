"""Draws that do not depend on how they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.arrays import Floats
from simulator.draws import BlockStream

LAWS: list[Callable[[np.random.Generator, int], Floats]] = [
    lambda rng, size: rng.lognormal(0.0, 1.0, size),
    lambda rng, size: rng.standard_exponential(size),
    lambda rng, size: rng.gamma(0.5, 1.0, size),
]


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(LAWS), st.lists(st.integers(0, 20_000), max_size=6), st.integers(0, 5000))
def test_the_ith_draw_is_the_same_however_they_are_asked_for(
    sample: Callable[[np.random.Generator, int], Floats], portions: list[int], unused: int
) -> None:
    one_rng, two_rng = np.random.default_rng(1), np.random.default_rng(1)
    one = BlockStream(lambda size: sample(one_rng, size))
    two = BlockStream(lambda size: sample(two_rng, size))
    whole = one.take(sum(portions))
    parts = []
    for portion in portions:
        taken = two.take(portion + unused)
        two.give_back(taken[portion:])
        parts.append(taken[:portion])
    assert np.concatenate([np.empty(0), *parts]).tobytes() == whole.tobytes()
