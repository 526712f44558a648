"""Randomness by key: the published generator, uniform numbers, and no two keys alike by accident."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simulator import randomness
from simulator.arrays import Floats
from simulator.randomness import (
    CLASS,
    SERVICE,
    call_key,
    mix,
    normal,
    purpose_key,
    request_key,
    seed_key,
    uniform,
)

SIZE = 200_000
LEVEL = 0.001
MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
SEED = np.uint64(20_260_101)
words = st.integers(0, MASK)


def unmixed(value: int) -> int:
    """The word that ``mix`` takes to this one, found without it."""
    for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, 1)):
        word = value
        for _ in range(64 // shift + 1):
            word = value ^ (word >> shift)
        value = word * pow(factor, -1, 2**64) & MASK
    return value


@numba.njit
def numbers_along(what: int, seed: np.uint64, size: int) -> Floats:
    """A uniform each for keys that are neighbours in one respect."""
    seconds = np.empty(size)
    root = request_key(seed, 0)
    for place in range(size):
        if what == 0:
            seconds[place] = uniform(purpose_key(request_key(seed, place), SERVICE), 0)
        elif what == 1:
            seconds[place] = uniform(purpose_key(call_key(root, place, 0, 0), SERVICE), 0)
        elif what == 2:
            seconds[place] = uniform(purpose_key(call_key(root, place >> 16, place & 65535, 0), SERVICE), 0)
        elif what == 3:
            seconds[place] = uniform(purpose_key(call_key(root, place >> 16, 0, place & 65535), SERVICE), 0)
        elif what == 4:
            call = call_key(request_key(seed, place // 6), 1, 0, 0)
            seconds[place] = uniform(purpose_key(call, place % 6), 0)
        elif what == 5:
            seconds[place] = uniform(root, place)
        else:
            seconds[place] = uniform(request_key(seed + np.uint64(place), 0), 0)
    return seconds


@numba.njit
def keys_of_calls(seed: np.uint64, requests: int, edges: int, branches: int, attempts: int) -> Any:
    keys = np.empty(requests * edges * branches * attempts, dtype=np.uint64)
    place = 0
    for request in range(requests):
        parent = request_key(seed, request)
        for edge in range(edges):
            for branch in range(branches):
                for attempt in range(attempts):
                    keys[place] = call_key(parent, edge, branch, attempt)
                    place += 1
    return keys


@numba.njit
def normals_along(seed: np.uint64, size: int) -> Floats:
    numbers = np.empty((size, 2))
    for place in range(size):
        key = request_key(seed, place)
        numbers[place, 0] = normal(key, 0)
        numbers[place, 1] = normal(key, 1)
    return numbers


def test_the_published_numbers_come_out() -> None:
    """Of seed 1234567, as java.util.SplittableRandom and the reference in C give them."""
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [mix(np.uint64(1234567 + GOLDEN * (i + 1) & MASK)) for i in range(5)] == published
    assert [request_key(np.uint64(1234567), i) for i in range(5)] == published
    for index, bits in enumerate(published):
        assert uniform(np.uint64(1234567), index) == ((bits >> 12) + 0.5) / 2**52


@given(words)
def test_mixing_loses_nothing(word: int) -> None:
    assert mix(np.uint64(unmixed(word))) == word


@pytest.mark.parametrize("bits", [0, 1, 2**63, MASK - 1, MASK])
def test_the_ends_are_never_drawn(bits: int) -> None:
    key = np.uint64(unmixed(bits) - GOLDEN & MASK)
    assert 0 < uniform(key, 0) < 1
    assert math.isfinite(normal(key, 0))


@given(words, st.integers(0, 2**40))
def test_numbers_lie_between_the_ends(key: int, index: int) -> None:
    assert 0 < uniform(np.uint64(key), index) < 1


@pytest.mark.parametrize(
    "what",
    range(7),
    ids=["requests", "edges", "branches", "attempts", "purposes", "numbers", "seeds"],
)
def test_neighbours_are_uniform_and_uncorrelated(what: int) -> None:
    numbers = numbers_along(what, SEED, SIZE)
    assert 0 < numbers.min() < numbers.max() < 1
    assert stats.kstest(numbers, "uniform").pvalue > LEVEL
    bound = stats.norm.isf(LEVEL / 2)
    off = (numbers - 0.5) * math.sqrt(12)
    for lag in (1, 2, 6):
        products = off[lag:] * off[:-lag]
        assert abs(products.sum()) < bound * math.sqrt(len(products)), lag
    pairs, *_ = np.histogram2d(numbers[::2], numbers[1::2], bins=16, range=((0, 1), (0, 1)))
    assert stats.chisquare(pairs.ravel()).pvalue > LEVEL


def test_normals_are_normal_and_independent_within_a_key() -> None:
    numbers = normals_along(SEED, SIZE)
    for column in numbers.T:
        assert stats.kstest(column, "norm").pvalue > LEVEL
    assert stats.pearsonr(*numbers.T).pvalue > LEVEL


@pytest.mark.parametrize(
    "grid", [(1_000_000, 1, 1, 1), (5000, 10, 5, 4), (10, 1000, 10, 10), (1, 1, 1000, 1000)]
)
def test_calls_have_keys_of_their_own(grid: tuple[int, int, int, int]) -> None:
    keys = keys_of_calls(SEED, *grid)
    assert len(keys) == 1_000_000
    assert len(np.unique(keys)) == len(keys)


def test_a_call_of_a_call_differs_by_its_way() -> None:
    root = np.uint64(request_key(SEED, 0))
    one = call_key(np.uint64(call_key(root, 1, 0, 0)), 2, 0, 0)
    other = call_key(np.uint64(call_key(root, 2, 0, 0)), 1, 0, 0)
    assert one != other


@given(words, st.integers(0, 2**31), st.integers(0, 65535), st.integers(0, 65535))
def test_a_key_depends_on_its_arguments_alone(parent: int, edge: int, branch: int, attempt: int) -> None:
    key = np.uint64(call_key(np.uint64(parent), edge, branch, attempt))
    assert call_key(np.uint64(parent), edge, branch, attempt) == key
    assert call_key(np.uint64(parent), edge + 1, branch, attempt) != key
    assert len({purpose_key(key, purpose) for purpose in range(CLASS + 1)}) == CLASS + 1


def test_a_seed_sequence_has_one_key() -> None:
    first, second = (np.random.SeedSequence(7).spawn(2)[child] for child in range(2))
    assert seed_key(first) == seed_key(np.random.SeedSequence(7).spawn(1)[0])
    assert seed_key(first) != seed_key(second)
    assert isinstance(seed_key(first), np.uint64)


def test_purposes_are_distinct() -> None:
    names = ("SERVICE", "ROUTING", "NETWORK", "BACK_OFF", "DISPATCH", "CLASS")
    assert [getattr(randomness, name) for name in names] == list(range(6))
