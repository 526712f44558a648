"""Independent runs of the data plane, and tests of what they measured at a stated level, for any seed.

A run is measured in batches after a warm-up and then drained, so that each run also obeys Little's law and
the conservation of requests to rounding. ``SETPOINT_SEED`` gives all runs other seeds.
"""

from __future__ import annotations

import itertools
import math
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from simulator.application import Application, RequestClass
from simulator.arrays import Floats, Ints
from simulator.dataplane import DataPlane, Totals
from simulator.latency import bucket_edges_seconds
from simulator.laws.deterministic import DeterministicLaw
from simulator.laws.exponential import ExponentialLaw
from simulator.laws.law import ServiceTimeLaw
from simulator.operation import Call, Operation
from simulator.randomness import seed_key
from simulator.service import Service, StartUpLaw

BASE_SEED = int(os.environ.get("SETPOINT_SEED", "20240"))
SEEDS = 20
BATCHES = 40
LEVEL = 0.001
"""Of the tests of one quantity together: those of its parts share it out evenly (Bonferroni)."""

HALF_WIDTH = 0.01

FRACTIONS = (0.5, 0.9, 0.99)
LATE_HALF_WIDTHS = (0.01, 0.025, 0.05)
"""Of the share of late requests: about what an exponential tail gains where its scale is 1 % larger."""

_BLOCK = 1 << 18


# Models


@dataclass(frozen=True)
class Model:
    """An application with pods, and the Poisson load that it gets."""

    application: Application
    pods: tuple[int, ...]
    rate_rps: float
    thresholds_seconds: tuple[float, ...] = ()


def law(kind: str, mean_seconds: float = 1.0) -> ServiceTimeLaw:
    """A law of which only the mean matters to the test."""
    known = {"exponential": ExponentialLaw, "deterministic": DeterministicLaw}
    return known[kind](mean_seconds=mean_seconds)


def service(**settings: object) -> Service:
    """A service of one slot with exponential work of mean 1 s, unless said otherwise."""
    given = {"slots_per_pod": 1, "vcpu_per_pod": 1.0, "min_replicas": 0, "max_replicas": 100_000} | settings
    if "operations" not in given:
        given.setdefault("service_time", law("exponential"))
    return Service.model_validate({"start_up": StartUpLaw(p50_seconds=1, p95_seconds=2), **given})


def station(
    rate_rps: float, thresholds_seconds: tuple[float, ...] = (), pods: int = 1, **settings: object
) -> Model:
    """One service that clients call directly."""
    return Model(Application.of(service(**settings)), (pods,), rate_rps, thresholds_seconds)


def network(
    rate_rps: float, services: Sequence[Service], entry: str, thresholds_seconds: tuple[float, ...] = ()
) -> Model:
    """Services with one pod each, whose clients all call the same one."""
    group = RequestClass(entry=Call(to=entry))
    application = Application(services=tuple(services), classes=(group,))
    return Model(application, (1,) * len(services), rate_rps, thresholds_seconds)


def classes(
    rate_rps: float,
    works: Sequence[ServiceTimeLaw],
    shares: Sequence[float],
    thresholds_seconds: tuple[float, ...] = (),
    **settings: object,
) -> Model:
    """Classes of one service with an operation each, the later the higher their priority."""
    operations = tuple(Operation(name=f"kind{at}", service_time=work) for at, work in enumerate(works))
    groups = tuple(
        RequestClass(name=f"kind{at}", share=share, priority=at, entry=Call(to=f"web.kind{at}"))
        for at, share in enumerate(shares)
    )
    application = Application(services=(service(operations=operations, **settings),), classes=groups)
    return Model(application, (1,), rate_rps, thresholds_seconds)


def data_plane(model: Model, sequence: np.random.SeedSequence) -> DataPlane:
    """A data plane at time 0 with all pods open."""
    plane = DataPlane(model.application, seed_key(sequence), model.thresholds_seconds)
    rows = iter(range(sum(model.pods)))
    for place, pods in enumerate(model.pods):
        for _ in range(pods):
            plane.open_pod(next(rows), place)
    return plane


# Runs


@dataclass(frozen=True)
class Stretch:
    """What happened in a part of a run."""

    totals: Totals
    seconds: float


@dataclass(frozen=True)
class Run:
    """One run after its warm-up, whole and batch by batch."""

    whole: Stretch
    batches: tuple[Stretch, ...]


Measure = Callable[[Stretch], float]


def seed_sequences(*labels: str | float, count: int = SEEDS) -> list[np.random.SeedSequence]:
    """Seeds of their own for what is labelled."""
    entropy = [zlib.crc32(repr(label).encode()) for label in labels]
    return np.random.SeedSequence([BASE_SEED, *entropy]).spawn(count)


def poisson_arrivals(rng: np.random.Generator, rate_rps: float, begin: float, end: float) -> Floats:
    """Arrivals in ``[begin, end)``; as gaps forget the past, the one that reaches beyond is not kept."""
    times = np.empty(0)
    last = begin
    while last < end:
        expected = rate_rps * (end - last)
        gaps = rng.exponential(1 / rate_rps, int(expected + 4 * math.sqrt(expected) + 16))
        times = np.append(times, last + np.cumsum(gaps))
        last = float(times[-1])
    return times[: np.searchsorted(times, end)]


def advance(plane: DataPlane, rng: np.random.Generator, rate_rps: float, begin: float, end: float) -> None:
    """Run a stretch under a Poisson load, in parts whose arrivals take little memory."""
    edges = np.linspace(begin, end, 2 + int(rate_rps * (end - begin) / _BLOCK))
    for one, other in itertools.pairwise(edges.tolist()):
        plane.advance(other, poisson_arrivals(rng, rate_rps, one, other))


def run(
    model: Model, requests: float, sequence: np.random.SeedSequence, warm_up_requests: float | None = None
) -> Run:
    """About ``requests`` requests in batches, after a warm-up of a twentieth more unless it is given."""
    for_arrivals, for_requests = sequence.spawn(2)
    rng = np.random.default_rng(for_arrivals)
    plane = data_plane(model, for_requests)
    warm_up = (requests / 20 if warm_up_requests is None else warm_up_requests) / model.rate_rps
    edges = warm_up + np.linspace(0.0, requests / model.rate_rps, BATCHES + 1)
    advance(plane, rng, model.rate_rps, 0.0, warm_up)
    begin = before = plane.totals()
    batches = []
    for one, other in itertools.pairwise(edges.tolist()):
        advance(plane, rng, model.rate_rps, one, other)
        now = plane.totals()
        batches.append(Stretch(now.since(before), other - one))
        before = now
    drain(plane, float(edges[-1]))
    return Run(Stretch(before.since(begin), float(edges[-1]) - warm_up), tuple(batches))


def replicate(model: Model, requests: float, *labels: str | float, **settings: float) -> list[Run]:
    """Independent runs."""
    return [run(model, requests, sequence, **settings) for sequence in seed_sequences(*labels)]


def drain(plane: DataPlane, now: float) -> None:
    """Run on without arrivals until nothing is left, then look at what must hold to rounding."""
    span = 1.0
    while plane.in_flight.any() or plane.waiting.any() or plane.in_service.any():
        now, span = now + span, 2 * span
        plane.advance(now, np.empty(0))
    assert_conserved(plane.totals())


def assert_conserved(totals: Totals) -> None:
    """All requests have come to one end each, and Little's law holds exactly: both sides count the same seconds."""
    services, classes = totals.services, totals.classes
    for counts in (services, classes):
        ends = counts["served"] + counts["dropped"] + counts["timed_out"] + counts["failed"]
        np.testing.assert_array_equal(counts["offered"], ends)
    held = services["waiting_request_seconds"] + services["in_service_request_seconds"]
    for one, other in (
        (services["waiting_request_seconds"], services["waited_seconds"]),
        (held, services["response_seconds"]),
        (classes["in_flight_request_seconds"], classes["response_seconds"]),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-6)
    np.testing.assert_array_equal(totals.class_latency_counts.sum(axis=1), classes["served"])
    np.testing.assert_array_equal(totals.service_latency_counts.sum(axis=1), services["served"])


# Measures


def mean_wait(place: int = 0) -> Measure:
    """Mean wait of the calls that a service has begun, seconds."""
    return lambda stretch: float(
        stretch.totals.services["waited_seconds"][place] / stretch.totals.services["started"][place]
    )


def mean_response(group: int = 0) -> Measure:
    """Mean response time of a class whose requests are all served, seconds."""
    return lambda stretch: float(
        stretch.totals.classes["response_seconds"][group] / stretch.totals.classes["served"][group]
    )


def loss_share(stretch: Stretch) -> float:
    """Dropped by the only service, of those offered to it."""
    return float(stretch.totals.services["dropped"][0] / stretch.totals.services["offered"][0])


def mean_number(place: int = 0) -> Measure:
    """Mean number of calls that wait at a service or are at work there; others' work that they wait for is not."""
    return lambda stretch: (
        float(
            stretch.totals.services["waiting_request_seconds"][place]
            + stretch.totals.services["busy_slot_seconds"][place]
        )
        / stretch.seconds
    )


def late_share(threshold: int, group: int = 0) -> Measure:
    """Late or not served, of those offered."""
    return lambda stretch: float(
        stretch.totals.late[group, threshold] / stretch.totals.classes["offered"][group]
    )


def histogram_percentile(counts: Ints, fraction: float) -> float:
    """The latency below which a fraction of the requests lies, straight lines between the edges of buckets."""
    below = np.append(0, np.cumsum(counts))
    return float(np.interp(fraction * below[-1], below, bucket_edges_seconds()))


# Tests


def z_scores(runs: Sequence[Run], measure: Measure, expected: float) -> Floats:
    """Each run's score by its own batches: Student's t, whose probability gives a normal score."""
    errors = [np.std([measure(each) for each in run.batches], ddof=1) / math.sqrt(BATCHES) for run in runs]
    scores = (np.array([measure(run.whole) for run in runs]) - expected) / np.array(errors)
    return np.asarray(stats.norm.ppf(stats.t.cdf(scores, BATCHES - 1)))


def assert_agrees(
    runs: Sequence[Run], measure: Measure, expected: float, half_width: float = HALF_WIDTH
) -> None:
    """z-scores are standard normal, and the mean over runs agrees as well: three tests."""
    assert_standard_normal(z_scores(runs, measure, expected), LEVEL * 2 / 3)
    assert_pooled(runs, measure, expected, half_width, LEVEL / 3)


def assert_standard_normal(z: Floats, level: float = LEVEL) -> None:
    """Neither is the sum of their squares out of what chi-square allows, nor their mean off 0: two tests."""
    squares = float(np.sum(z**2))
    low, high = stats.chi2.ppf([level / 4, 1 - level / 4], len(z))
    assert low <= squares <= high, f"sum of z^2 is {squares:.1f}, not in {low:.1f}..{high:.1f}"
    total = float(np.sum(z)) / math.sqrt(len(z))
    assert abs(total) <= stats.norm.ppf(1 - level / 4), f"sum of z is {total:.2f} deviations: {z}"


def assert_pooled(
    runs: Sequence[Run],
    measure: Measure,
    expected: float,
    half_width: float = HALF_WIDTH,
    level: float = LEVEL,
) -> None:
    """The mean over independent runs agrees, without batches."""
    assert_sample_mean([measure(run.whole) for run in runs], expected, half_width, level)


def assert_sample_mean(
    values: Sequence[float], expected: float, half_width: float = HALF_WIDTH, level: float = LEVEL
) -> None:
    """The mean of independent values agrees; its 95 % half-width is at most that share of what is expected."""
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    freedom = len(values) - 1
    reached = error * stats.t.ppf(0.975, freedom)
    assert reached <= half_width * expected, f"half-width is {reached / expected:.2%}"
    score = (float(np.mean(values)) - expected) / error
    assert abs(score) <= stats.t.ppf(1 - level / 2, freedom), (
        f"{np.mean(values)} is not {expected}: t = {score:.2f}"
    )


def assert_percentiles(
    runs: Sequence[Run], percentiles_seconds: Sequence[float], group: int = 0, width: float = 1.0
) -> None:
    """Percentiles at ``FRACTIONS``, which are the runs' thresholds: by late requests and by the histogram.

    Args:
        width: of all half-widths, relative to the usual ones.
    """
    level = LEVEL / (2 * len(FRACTIONS))
    for place, fraction in enumerate(FRACTIONS):
        late_width = width * LATE_HALF_WIDTHS[place]
        assert_pooled(runs, late_share(place, group), 1 - fraction, late_width, level)
        by_histogram = [
            histogram_percentile(run.whole.totals.class_latency_counts[group], fraction) for run in runs
        ]
        assert_sample_mean(by_histogram, percentiles_seconds[place], width * HALF_WIDTH, level)


def assert_same_mean(ours: Sequence[float], theirs: Sequence[float], half_width: float) -> None:
    """Two samples have the same mean at the level (Welch), and the difference is known to a share of it."""
    errors = [np.var(values, ddof=1) / len(values) for values in (ours, theirs)]
    error = math.sqrt(sum(errors))
    freedom = sum(errors) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(errors, (ours, theirs), strict=True)
    )
    reached = error * stats.t.ppf(0.975, freedom)
    assert reached <= half_width * np.mean(theirs), f"half-width is {reached / np.mean(theirs):.2%}"
    score = float(np.mean(ours) - np.mean(theirs)) / error
    assert abs(score) <= stats.t.ppf(1 - LEVEL / 2, freedom), (
        f"{np.mean(ours)} is not {np.mean(theirs)}: t = {score:.2f}"
    )


def assert_less(lower: Sequence[Run], higher: Sequence[Run], measure: Measure) -> None:
    """One mean is below another, at the level."""
    values = [[measure(run.whole) for run in runs] for runs in (lower, higher)]
    assert stats.ttest_ind(*values, equal_var=False, alternative="less").pvalue < LEVEL
