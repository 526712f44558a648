"""The Vertical Pod Autoscaler's histograms of usage, whose samples may decay, on arrays.

Source: kubernetes/autoscaler vertical-pod-autoscaler/pkg/recommender/util (``histogram.go``,
``decaying_histogram.go``, ``histogram_options.go``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from agents.policy import Mask
from simulator.arrays import Floats, Ints
from simulator.errors import InputError

MAX_CHECKPOINT_WEIGHT: Final = 10_000
"""Weight of a checkpoint's heaviest bucket."""
MAX_DECAY_EXPONENT: Final = 100
"""Half-lives that a sample may be ahead of the reference time."""
_YEAR_1_SECONDS: Final = 62_135_596_800.0
"""From upstream's zero time, whose multiples times are rounded to, to 1970."""


class Buckets(Protocol):
    """How values are sorted into buckets; each says what a bucket's start and the smallest weight are."""

    @property
    def count(self) -> int:
        """Buckets there are."""
        ...

    @property
    def epsilon(self) -> float:
        """A bucket of less weight is empty."""
        ...

    def find(self, values: Floats) -> Ints:
        """The bucket of each value; those out of range go to the end buckets."""
        ...

    def start(self, buckets: Ints) -> Floats:
        """Where buckets begin."""
        ...


@dataclass(frozen=True, slots=True)
class LinearBuckets:
    """Buckets of one size.

    Raises:
        InputError: if a number is not above 0.
    """

    max_value: float
    bucket_size: float
    epsilon: float

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("max_value", "bucket_size", "epsilon"):
            _require_above_zero(name, getattr(self, name))

    @property
    def count(self) -> int:
        """Buckets there are."""
        return math.ceil(self.max_value / self.bucket_size) + 1

    def find(self, values: Floats) -> Ints:
        """The bucket of each value."""
        return _within(np.floor(values / self.bucket_size), self.count)

    def start(self, buckets: Ints) -> Floats:
        """Where buckets begin."""
        _require_buckets(buckets, self.count)
        return np.asarray(buckets * self.bucket_size, np.float64)


@dataclass(frozen=True, slots=True)
class ExponentialBuckets:
    """Buckets of which each is ``ratio`` times as wide as the one before.

    Raises:
        InputError: if a number is not above 0, or the ratio not above 1.
    """

    max_value: float
    first_bucket_size: float
    ratio: float
    epsilon: float

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("max_value", "first_bucket_size", "epsilon"):
            _require_above_zero(name, getattr(self, name))
        if not self.ratio > 1:
            msg = f"ratio is {self.ratio:g}: only a number above 1 is allowed"
            raise InputError(msg)

    @property
    def count(self) -> int:
        """Buckets there are."""
        return math.ceil(float(self._place(np.float64(self.max_value)))) + 1

    def find(self, values: Floats) -> Ints:
        """The bucket of each value."""
        inside = np.maximum(values, self.first_bucket_size)
        return _within(
            np.where(values < self.first_bucket_size, 0, np.floor(self._place(inside))), self.count
        )

    def start(self, buckets: Ints) -> Floats:
        """Where buckets begin."""
        _require_buckets(buckets, self.count)
        grown: Floats = self.first_bucket_size * (np.power(self.ratio, buckets) - 1) / (self.ratio - 1)
        return grown

    def _place(self, values: Floats | np.float64) -> Floats:
        widths = values * (self.ratio - 1) / self.first_bucket_size + 1
        return np.asarray(np.log(widths) / math.log(self.ratio))


def _within(buckets: Floats, count: int) -> Ints:
    return np.clip(buckets, 0, count - 1).astype(np.int64)


def _require_above_zero(name: str, value: float) -> None:
    if not value > 0:
        msg = f"{name} is {value:g}: only a number above 0 is allowed"
        raise InputError(msg)


def _require_buckets(buckets: Ints, count: int) -> None:
    if np.any((buckets < 0) | (buckets >= count)):
        msg = f"bucket is out of range: only 0 to {count - 1} is allowed"
        raise InputError(msg)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is kept of one histogram.

    Attributes:
        bucket_weights: by bucket, whole, the heaviest MAX_CHECKPOINT_WEIGHT; buckets that round to 0 are left out.
        reference_seconds: since 1970; None without decay, or before the first sample.
    """

    total_weight: float
    bucket_weights: Mapping[int, int]
    reference_seconds: float | None = None


class Histogram:
    """Histograms of one kind, one for each place of a shape ``(...)``.

    With a half-life a sample of time t weighs ``2^((t - reference) / half-life)`` times as much. The reference time
    is a whole multiple of the half-life; it moves, and all weights with it, at the first sample and when one is more
    than MAX_DECAY_EXPONENT half-lives ahead.

    Args:
        half_life_seconds: None for no decay.
        shape: of the places.
    """

    def __init__(
        self, buckets: Buckets, half_life_seconds: float | None = None, shape: tuple[int, ...] = ()
    ) -> None:
        self.buckets, self.half_life_seconds, self.shape = buckets, half_life_seconds, shape
        self.weights = np.zeros((*shape, buckets.count))
        self.total_weight = np.zeros(shape)
        self.reference_seconds = np.full(shape, -np.inf)

    @property
    def empty(self) -> Mask:
        """Whether no bucket weighs anything, bool ``(...)``."""
        return np.asarray(~self._filled.any(axis=-1))

    def add(self, values: Floats, weights: Floats, seconds: Floats, where: Mask | None = None) -> None:
        """Add a sample to each histogram, or to those where asked; arrays go with the shape."""
        self._change(values, weights, seconds, where, sign=1)

    def subtract(self, values: Floats, weights: Floats, seconds: Floats, where: Mask | None = None) -> None:
        """Take a sample away again; less weight than epsilon is none."""
        self._change(values, weights, seconds, where, sign=-1)

    def merge(self, other: Histogram) -> None:
        """Add another's samples, whose reference time is moved if it is the older one.

        Raises:
            InputError: if the other has other buckets, another half-life or another shape.
        """
        for name in ("buckets", "half_life_seconds", "shape"):
            if getattr(self, name) != getattr(other, name):
                msg = f"histograms differ in {name}: only those that agree can be merged"
                raise InputError(msg)
        if self.half_life_seconds is not None:
            newest = np.maximum(self.reference_seconds, other.reference_seconds)
            for one in (self, other):
                one.shift(newest, one.reference_seconds < newest)
        first, last = other._ends()
        places = np.arange(self.buckets.count)
        inside = (places >= first[..., np.newaxis]) & (places <= last[..., np.newaxis])
        self.weights += np.where(inside, other.weights, 0.0)
        self.total_weight = self.total_weight + other.total_weight

    def shift(self, seconds: Floats, where: Mask) -> None:
        """Move the reference time to the multiple nearest to one, where asked, and all weights with it."""
        if self.half_life_seconds is None or not where.any():
            return
        since = np.where(where, seconds, 0.0) + _YEAR_1_SECONDS
        over = np.fmod(since, self.half_life_seconds)
        up = np.where(2 * over >= self.half_life_seconds, self.half_life_seconds, 0.0)
        moved = np.where(where, since - over + up - _YEAR_1_SECONDS, self.reference_seconds)
        started = where & np.isfinite(self.reference_seconds)
        before, after = (np.where(started, seconds, 0.0) for seconds in (self.reference_seconds, moved))
        factor = np.exp2(np.rint((before - after) / self.half_life_seconds))
        self.weights *= factor[..., np.newaxis]
        self.total_weight = self.total_weight * factor
        self.reference_seconds = moved

    def percentile(self, fraction: float) -> Floats:
        """The end of the bucket in which the running weight reaches a fraction of the total; 0 where empty."""
        first, last = self._ends()
        places = np.arange(self.buckets.count)
        running = np.cumsum(np.where(places >= first[..., np.newaxis], self.weights, 0.0), axis=-1)
        threshold = (fraction * self.total_weight)[..., np.newaxis]
        reached = (running >= threshold) & (places >= first[..., np.newaxis])
        bucket = np.where(reached.any(axis=-1), np.minimum(reached.argmax(axis=-1), last), last)
        end = np.minimum(bucket + 1, self.buckets.count - 1)
        return np.where(self.empty, 0.0, self.buckets.start(end))

    def save(self) -> Checkpoint:
        """What to keep of a single histogram, of shape ``()``."""
        first, last = self._ends()
        inside = self.weights[int(first) : int(last) + 1]
        heaviest = float(inside.max()) if len(inside) else 0.0
        whole = np.floor(inside * (MAX_CHECKPOINT_WEIGHT / heaviest) + 0.5) if heaviest > 0 else inside
        weights = {int(first) + place: int(weight) for place, weight in enumerate(whole) if weight > 0}
        reference = float(self.reference_seconds)
        return Checkpoint(float(self.total_weight), weights, reference if math.isfinite(reference) else None)

    def load(self, checkpoint: Checkpoint) -> None:
        """Add what was kept to a single histogram, of shape ``()``.

        Raises:
            InputError: if the total weight is negative or a bucket does not exist.
        """
        if checkpoint.total_weight < 0:
            msg = f"checkpoint: total_weight is {checkpoint.total_weight:g}: only 0 or more is allowed"
            raise InputError(msg)
        for bucket in checkpoint.bucket_weights:
            if not 0 <= bucket < self.buckets.count:
                msg = f"checkpoint: bucket is {bucket}: only 0 to {self.buckets.count - 1} is allowed"
                raise InputError(msg)
        if checkpoint.reference_seconds is not None:
            self.reference_seconds = np.array(checkpoint.reference_seconds)
        kept = sum(checkpoint.bucket_weights.values())
        if kept == 0:
            return
        for bucket, weight in checkpoint.bucket_weights.items():
            self.weights[bucket] += weight * (checkpoint.total_weight / kept)
        self.total_weight = self.total_weight + checkpoint.total_weight

    def reset(self, mask: Mask) -> None:
        """Forget all samples of the places under a mask, which may be of fewer axes than the shape."""
        self.weights[mask] = 0.0
        self.total_weight[mask] = 0.0
        self.reference_seconds[mask] = -np.inf

    @property
    def _filled(self) -> Mask:
        filled: Mask = self.weights >= self.buckets.epsilon
        return filled

    def _ends(self) -> tuple[Ints, Ints]:
        """The first and the last bucket that weigh anything; the last before the first where all are empty."""
        filled, count = self._filled, self.buckets.count
        some = filled.any(axis=-1)
        first = np.where(some, filled.argmax(axis=-1), count - 1)
        last = np.where(some, count - 1 - filled[..., ::-1].argmax(axis=-1), 0)
        return first, last

    def _change(
        self, values: Floats, weights: Floats, seconds: Floats, where: Mask | None, *, sign: int
    ) -> None:
        where = np.ones(self.shape, dtype=bool) if where is None else np.broadcast_to(where, self.shape)
        weights = np.where(where, weights * self._growth(seconds, where), 0.0)
        place = self.buckets.find(np.where(where, values, 0.0))[..., np.newaxis]
        held = np.take_along_axis(self.weights, place, axis=-1)[..., 0]
        if sign > 0:
            held, total = held + weights, self.total_weight + weights
        else:
            held, total = self._less(held, weights, where), self._less(self.total_weight, weights, where)
        np.put_along_axis(self.weights, place, held[..., np.newaxis], axis=-1)
        self.total_weight = total

    def _less(self, held: Floats, weights: Floats, where: Mask) -> Floats:
        left = held - weights
        return np.where(where & (left < self.buckets.epsilon), 0.0, left)

    def _growth(self, seconds: Floats, where: Mask) -> Floats:
        """How much more a sample of now weighs than one of the reference time."""
        if self.half_life_seconds is None:
            return np.ones(self.shape)
        seconds = np.broadcast_to(seconds, self.shape)
        ahead = seconds > self.reference_seconds + MAX_DECAY_EXPONENT * self.half_life_seconds
        self.shift(seconds, where & ahead)
        since, reference = (np.where(where, times, 0.0) for times in (seconds, self.reference_seconds))
        return np.exp2((since - reference) / self.half_life_seconds)
