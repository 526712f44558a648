from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.retry_storm import (
    ATTEMPTS,
    BACK_OFF,
    BREAKER,
    BUDGET,
    BURST_FROM_SECONDS,
    BURST_UNTIL_SECONDS,
    CAPACITY_RPS,
    CLIENTS_RPS,
    DISCARDING,
    NO_RETRIES,
    RUN_SECONDS,
    SCALED,
    SCALED_RUN_SECONDS,
    SHEDDING,
    SHORT_QUEUE,
    STORM,
    Course,
    Variant,
    budgeted_rps,
    describe_loads,
    describe_scaling,
    describe_variants,
    draw,
    play,
)

SEEDS = (0, 1, 2)
NUMBER = re.compile(r"\d+(?:\.\d+)?")
PAGE = Path(__file__).parents[2] / "docs" / "retry-storm.md"


def name_or_value(value: Any) -> str:
    return value.name if isinstance(value, Variant) else str(value)


def after(course: Course, seconds: float = 0.0) -> float:
    return course.goodput(BURST_UNTIL_SECONDS + seconds, RUN_SECONDS)


def test_the_load_is_well_within_capacity() -> None:
    services = NO_RETRIES.build().scenario.system
    per_pod = services.capacity_rps()[1]
    assert services.services[1].max_replicas * per_pod == pytest.approx(CAPACITY_RPS)
    assert CLIENTS_RPS / CAPACITY_RPS == 0.6


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("variant", [NO_RETRIES, STORM, BUDGET, BREAKER], ids=name_or_value)
def test_all_is_well_before_the_burst(variant: Variant, seed: int) -> None:
    course = play(variant, seed, run_seconds=BURST_FROM_SECONDS + 20.0)
    assert course.goodput(10.0, BURST_FROM_SECONDS) > 0.99
    assert course.amplification(10.0, BURST_FROM_SECONDS) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_storm_outlives_its_cause_by_more_than_eight_minutes(seed: int) -> None:
    course = play(STORM, seed)
    assert RUN_SECONDS - BURST_UNTIL_SECONDS > 8 * 60
    assert after(course) < 0.01
    assert course.back_after_seconds == np.inf
    assert course.amplification(120.0, RUN_SECONDS) == pytest.approx(ATTEMPTS, rel=0.02)
    # app is at work all the time, and all of it is in vain
    late = course.seconds >= 120.0
    assert course.app_wasted[late].mean() == pytest.approx(CAPACITY_RPS, rel=0.02)
    assert course.app_served[late].sum() == 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("variant", "seconds"),
    [(NO_RETRIES, 20), (BUDGET, 60), (BREAKER, 20), (SHEDDING, 5), (SHORT_QUEUE, 5)],
    ids=name_or_value,
)
def test_without_retries_with_budgets_a_breaker_or_shedding_or_a_short_queue_all_is_well_again(
    variant: Variant, seconds: float, seed: int
) -> None:
    course = play(variant, seed)
    assert course.back_after_seconds <= seconds
    assert after(course, seconds) > 0.99
    assert course.amplification(BURST_UNTIL_SECONDS + seconds, RUN_SECONDS) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("variant", [BACK_OFF, DISCARDING], ids=name_or_value)
def test_longer_waits_or_discarding_alone_do_not_end_it(variant: Variant) -> None:
    assert after(play(variant, seed=0)) < 0.01


@pytest.mark.parametrize(
    ("variant", "load", "lasts"),
    [(STORM, 0.10, False), (STORM, 0.12, True), (BUDGET, 0.64, False), (BUDGET, 0.70, True)],
    ids=name_or_value,
)
def test_it_lasts_where_the_amplified_load_exceeds_capacity(
    variant: Variant, load: float, lasts: bool
) -> None:
    clients_rps = load * CAPACITY_RPS
    amplified = ATTEMPTS * clients_rps if variant is STORM else budgeted_rps(clients_rps)
    assert (amplified > CAPACITY_RPS) == lasts
    assert np.isinf(play(variant, 0, clients_rps).back_after_seconds) == lasts


def test_the_hpa_ends_it_minutes_later_with_many_times_the_pods() -> None:
    course = play(SCALED, run_seconds=SCALED_RUN_SECONDS)
    assert 120 < course.back_after_seconds < 600
    assert course.app_pods.max() > 6 * course.app_pods[0]


def test_the_same_seed_gives_the_same_picture() -> None:
    pictures = []
    for _ in range(2):
        with io.BytesIO() as file:
            draw({v.name: play(v, 3, run_seconds=120.0) for v in (NO_RETRIES, STORM)}).savefig(
                file, format="png"
            )
            pictures.append(file.getvalue())
    assert pictures[0] == pictures[1]


@pytest.mark.slow
def test_the_page_says_what_comes_out() -> None:
    """Word for word; numbers may differ a little, as other processors round differently."""
    page = PAGE.read_text(encoding="utf-8").splitlines()
    for said in (describe_variants(), describe_loads(), describe_scaling()):
        lines = list(said)
        text = "\n".join(lines)
        first = next(at for at, line in enumerate(page) if words(line) == words(lines[0]))
        there = "\n".join(page[first : first + len(lines)])
        assert words(there) == words(text)
        assert numbers(there) == pytest.approx(numbers(text), rel=0.15, abs=1)


def words(text: str) -> str:
    return NUMBER.sub("#", text)


def numbers(text: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(text)]
