"""Fitted models: traces drawn from parameters that ``simulator.fitting`` found in a real one."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from simulator.arrays import Floats
from simulator.settings import Settings
from simulator.trace import Trace

DAY_SECONDS = 86_400.0
HOUR_SECONDS = 3600.0
WEEK_DAYS = 7
LEAST_LEVEL = 0.02
"""The noise of a bin that expects less than this share of the mean is as wide as that of one that expects this."""
_MOST_WARM_UP_BINS = 20_000
_FORGOTTEN = 1e-3
_HEIGHT_STD = 0.15
Factor = Annotated[float, Field(ge=0, le=1e4)]
Value = Annotated[float, Field(ge=-1e4, le=1e6)]
Partial = Annotated[float, Field(gt=-1, lt=1)]


class CycleShape(Settings):
    """The expected rate over day and week, relative to the mean."""

    slot_seconds: float = Field(gt=0, le=DAY_SECONDS, description="Width of a slot of the tables.")
    kind_of_day: tuple[Annotated[int, Field(ge=0, le=6)], ...] = Field(
        min_length=WEEK_DAYS,
        max_length=WEEK_DAYS,
        description="Which table each of seven days follows, the trace's first day first.",
    )
    factors: tuple[tuple[Factor, ...], ...] = Field(
        min_length=1, max_length=WEEK_DAYS, description="A table a kind of day: a factor a slot."
    )
    hour: tuple[Factor, ...] = Field(
        default=(1.0,), min_length=1, max_length=3600, description="Factors over the hour, of even width."
    )

    @model_validator(mode="after")
    def _consistent(self) -> CycleShape:
        if max(self.kind_of_day) >= len(self.factors):
            msg = f"kind_of_day names table {max(self.kind_of_day)}, but there are {len(self.factors)} from 0 on"
            raise ValueError(msg)
        slots = int(np.ceil(DAY_SECONDS / self.slot_seconds - 1e-9))
        wrong = [len(row) for row in self.factors if len(row) != slots]
        if wrong:
            msg = (
                f"factors has a table of {wrong[0]} slots; slots of {self.slot_seconds:g} s are {slots} a day"
            )
            raise ValueError(msg)
        return self

    def at(self, times_seconds: NDArray[np.floating], bin_seconds: float) -> Floats:
        """The expected rate of bins that start at these times since the trace's start, relative to the mean."""
        kinds = np.array(self.kind_of_day)[(times_seconds // DAY_SECONDS).astype(int) % WEEK_DAYS]
        rate = np.empty(len(times_seconds))
        for kind, row in enumerate(self.factors):
            chosen = kinds == kind
            rate[chosen] = read_table(np.array(row), self.slot_seconds, times_seconds[chosen], bin_seconds)
        slot = (times_seconds % HOUR_SECONDS + bin_seconds / 2) * len(self.hour) / HOUR_SECONDS
        return np.asarray(rate * np.array(self.hour)[slot.astype(int) % len(self.hour)])


def read_table(
    row: Floats, slot_seconds: float, times_seconds: NDArray[np.floating], bin_seconds: float
) -> Floats:
    """A day's table at the middle of bins: as it is where a slot is a bin, else linear between slots' middles."""
    middle = (times_seconds % DAY_SECONDS + bin_seconds / 2) % DAY_SECONDS / slot_seconds
    if slot_seconds <= bin_seconds * (1 + 1e-9):
        return np.asarray(row[np.minimum(middle.astype(int), len(row) - 1)])
    return np.asarray(np.interp(middle - 0.5, np.arange(len(row)), row, period=len(row)))


class Noise(Settings):
    """What is left of the rate besides its shape: a Gaussian process, bent to the values that were seen.

    The process is a part that remembers a few bins (an autoregression), a slow one of first order, and
    one that is like the fast one and comes again next day.
    Its values are turned into those of the table; values that leave less than no requests are silence.
    """

    power: float = Field(ge=0, le=1, description="The noise grows with the expected rate to this power.")
    values: tuple[Value, ...] = Field(
        min_length=2,
        max_length=201,
        description="The noise where the process is at even steps from -reach to reach, relative to the mean.",
    )
    reach: float = Field(gt=0, le=6, description="Of the table, in standard deviations of the process.")
    partial_autocorrelations: tuple[Partial, ...] = Field(
        max_length=64, description="Of the fast part, bin by bin."
    )
    slow_share: float = Field(ge=0, le=1, description="The slow part's share of the variance.")
    slow_seconds: float = Field(gt=0, le=1e8, description="In which the slow part forgets to 1/e.")
    recurring_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the variance that comes again at the same time next day.",
    )
    recurring_correlation: float = Field(
        default=0.0, ge=0, lt=1, description="Of that part, from one day to the next."
    )
    widths: tuple[Factor, ...] = Field(
        default=(1.0,), min_length=1, max_length=24, description="How wide the noise is over the day, evenly."
    )

    @model_validator(mode="after")
    def _ascending(self) -> Noise:
        if np.any(np.diff(self.values) < 0):
            msg = "values must not descend"
            raise ValueError(msg)
        if self.slow_share + self.recurring_share > 1 + 1e-9:
            msg = f"slow_share and recurring_share are {self.slow_share + self.recurring_share:g}; must be 1 at most"
            raise ValueError(msg)
        return self

    def spread(self, expected: Floats, bin_seconds: float) -> Floats:
        """float64 ``(bins,)``; what the noise of bins from the trace's start on is multiplied with."""
        place = (np.arange(len(expected)) + 0.5) * bin_seconds % DAY_SECONDS * len(self.widths) / DAY_SECONDS
        width = np.array(self.widths)[place.astype(int) % len(self.widths)]
        return np.asarray(width * np.maximum(expected, LEAST_LEVEL) ** self.power)

    def draw(self, bins: int, bin_seconds: float, rng: np.random.Generator) -> Floats:
        """float64 ``(bins,)``; the noise, before it is multiplied with its spread."""
        from scipy.signal import lfilter

        memory = np.exp(-bin_seconds / self.slow_seconds)
        fast = self._fast(bins, rng)
        steps = rng.standard_normal(bins) * np.sqrt(1 - memory**2)
        steps[:1] /= np.sqrt(1 - memory**2)
        slow = lfilter([1.0], [1.0, -memory], steps)
        process = np.sqrt(max(1 - self.slow_share - self.recurring_share, 0.0)) * fast
        process += np.sqrt(self.slow_share) * slow
        if self.recurring_share:
            process += np.sqrt(self.recurring_share) * self._recurring(bins, bin_seconds, rng)
        return np.asarray(
            np.interp(process, np.linspace(-self.reach, self.reach, len(self.values)), self.values)
        )

    def _fast(self, bins: int, rng: np.random.Generator) -> Floats:
        from scipy.signal import lfilter

        weights, variance = step_up(np.array(self.partial_autocorrelations))
        warm_up = _warm_up_bins(weights)
        steps = rng.standard_normal(warm_up + bins) * np.sqrt(variance)
        return np.asarray(lfilter([1.0], np.concatenate(([1.0], -weights)), steps)[warm_up:])

    def _recurring(self, bins: int, bin_seconds: float, rng: np.random.Generator) -> Floats:
        """A process like the fast one, of which each day is like the day before."""
        from scipy.signal import lfilter

        day = round(DAY_SECONDS / bin_seconds)
        fresh = self._fast(bins, rng)
        fresh[day:] *= np.sqrt(1 - self.recurring_correlation**2)
        weights = np.concatenate(([1.0], np.zeros(day - 1), [-self.recurring_correlation]))
        return np.asarray(lfilter([1.0], weights, fresh))


def step_up(partial: Floats) -> tuple[Floats, float]:
    """An autoregression's weights and its steps' variance where its own is 1, from partial autocorrelations.

    Source: J. Durbin, The fitting of time-series models, 1960.
    """
    weights = np.empty(0)
    for value in partial:
        weights = np.append(weights - value * weights[::-1], value)
    return weights, float(np.prod(1 - partial**2))


def _warm_up_bins(weights: Floats) -> int:
    """After how many bins the fast part has forgotten that it started from nothing."""
    if not len(weights):
        return 0
    largest = float(np.abs(np.roots(np.concatenate(([1.0], -weights)))).max())
    if largest <= 0:
        return len(weights)
    bins = len(weights) + np.log(_FORGOTTEN) / np.log(min(largest, 1 - 1e-9))
    return int(min(bins, _MOST_WARM_UP_BINS))


class Bursts(Settings):
    """Short surges on top: they come the more often the more is expected, rise and decay exponentially.

    A draw has as many as are expected, rounded up or down by chance, spread evenly over the table, so
    that a look-alike as long as the original has its high ones, too; a top varies by 15 % around the table's.
    """

    per_day: float = Field(default=0.0, ge=0, le=86_400, description="Rate of bursts.")
    heights: tuple[Annotated[float, Field(ge=0, le=1e6)], ...] = Field(
        default=(0.0,),
        min_length=1,
        max_length=101,
        description="Bursts seen, from the lowest to the highest: the top, relative to the mean.",
    )
    decay_seconds: tuple[Annotated[float, Field(gt=0, le=1e7)], ...] = Field(
        default=(300.0,), min_length=1, max_length=101, description="In which each of them decays to 1/e."
    )
    rise_seconds: tuple[Annotated[float, Field(ge=0, le=1e7)], ...] = Field(
        default=(0.0,),
        min_length=1,
        max_length=101,
        description="In which each rises from 1/e; 0 is at once.",
    )

    @model_validator(mode="after")
    def _as_many(self) -> Bursts:
        lengths = (len(self.heights), len(self.decay_seconds), len(self.rise_seconds))
        if len(set(lengths)) > 1:
            msg = "heights, decay_seconds and rise_seconds have {}, {} and {} entries; must have as many"
            raise ValueError(msg.format(*lengths))
        return self

    def draw(self, expected: Floats, bin_seconds: float, rng: np.random.Generator) -> Floats:
        """float64 ``(bins,)``; relative to the mean, where so much is expected."""
        from scipy.signal import lfilter

        bins = len(expected)
        count = int(self.per_day * bins * bin_seconds / DAY_SECONDS + rng.random())
        reached = np.cumsum(expected)
        places = (
            np.searchsorted(reached, rng.random(count) * reached[-1], "right") if count else np.zeros(0, int)
        )
        places = np.minimum(places, bins - 1)
        levels = (rng.permutation(count) + rng.random(count)) / max(count, 1)
        rows = np.minimum((levels * len(self.heights)).astype(int), len(self.heights) - 1)
        heights = np.array(self.heights)[rows] * np.exp(_HEIGHT_STD * rng.standard_normal(count))
        total = np.zeros(bins)
        for row in np.unique(rows):
            chosen = rows == row
            jumps = np.bincount(places[chosen], weights=heights[chosen], minlength=bins)
            decay = np.exp(-bin_seconds / self.decay_seconds[row])
            total += lfilter([1.0], [1.0, -decay], jumps)
            if self.rise_seconds[row]:
                rise = np.exp(-bin_seconds / self.rise_seconds[row])
                total += lfilter([0.0, rise], [1.0, -rise], jumps[::-1])[::-1]
        return total


class FittedModel(Settings):
    """Trend, daily and weekly shape, autocorrelated noise and bursts, fitted to one trace.

    ``rate = mean * level * (expected + expected^power * noise + trend * bursts)``, kept within 0 and a ceiling, with
    ``expected = trend * shape``, all relative to the trace's mean. The trend is exponential over the
    length that was fitted and levels off after it.
    """

    kind: Literal["fitted"] = "fitted"
    name: str = Field(min_length=1, max_length=80, description="The model's name.")
    source: str = Field(description="The trace it was fitted to.")
    terms: str = Field(default="", description="Under which terms that trace is available.")
    trace_sha256: str = Field(default="", description="Of the trace's file.")
    bin_seconds: float = Field(gt=0, le=DAY_SECONDS, description="Width of the trace's bins.")
    fitted_start_seconds: float = Field(default=0.0, description="Start of the part that was fitted.")
    fitted_seconds: float = Field(gt=0, le=1e10, description="Length of the part that was fitted.")
    first_weekday: int | None = Field(
        default=None, ge=0, le=6, description="Weekday of the trace's start, 0 is Monday; if it is known."
    )
    mean_rps: float = Field(gt=0, le=1e9, description="The trace's mean, requests/s.")
    trend_per_day: float = Field(default=0.0, ge=-5, le=5, description="Growth of the log-rate a day.")
    trend_damping_seconds: float = Field(
        default=7 * DAY_SECONDS,
        gt=0,
        le=1e10,
        description="In which the growth falls to 1/e once the fitted length is over.",
    )
    shape: CycleShape | None = Field(default=None, description="None where no cycle was found.")
    noise: Noise
    bursts: Bursts = Bursts()
    level: float = Field(default=1.0, gt=0, le=100, description="Makes the mean that of the trace.")
    ceiling: float = Field(default=1e6, gt=0, description="The rate is never above this times the mean.")
    counting: Literal["poisson", "none"] = Field(
        default="poisson",
        description="Whether requests come by chance at the rate, or as evenly as counts allow.",
    )

    def draw(self, duration_seconds: float, mean_rps: float, rng: np.random.Generator) -> Trace:
        """A look-alike's expected counts, in bins of at most a minute, from the trace's start on.

        How requests come is left to an arrival process, so counting noise is not in it.

        Args:
            duration_seconds: rounded up to whole bins.
            mean_rps: the expected mean over the length that was fitted; a draw's own varies around it.
            rng: the only source of randomness.
        """
        bins = max(int(np.ceil(duration_seconds / self.bin_seconds - 1e-9)), 2)
        trace = Trace(self._rates(bins, rng) * mean_rps * self.bin_seconds, self.bin_seconds, name=self.name)
        fine = trace.refine()
        wanted = int(np.ceil(duration_seconds / fine.bin_seconds - 1e-9))
        return replace(fine, requests=fine.requests[:wanted])

    def look_alike(
        self,
        rng: np.random.Generator,
        duration_seconds: float | None = None,
        mean_rps: float | None = None,
    ) -> Trace:
        """Whole counts in the bins of the original, as if they had been recorded.

        Args:
            rng: the only source of randomness.
            duration_seconds: rounded up to whole bins; as long as the original if not given.
            mean_rps: as for ``draw``; the original's if not given.
        """
        duration = self.fitted_seconds if duration_seconds is None else duration_seconds
        bins = max(int(np.ceil(duration / self.bin_seconds - 1e-9)), 1)
        expected = self._rates(bins, rng) * (mean_rps or self.mean_rps) * self.bin_seconds
        counts = self.count(expected, rng)
        return Trace(counts, self.bin_seconds, name=self.name)

    def count(self, expected: Floats, rng: np.random.Generator) -> Floats:
        """Whole counts of bins that expect so many requests."""
        if self.counting == "none":
            return np.rint(expected)
        return rng.poisson(np.minimum(expected, 1e15)).astype(np.float64)

    def expected(self, bins: int) -> Floats:
        """float64 ``(bins,)``; the rate without noise and bursts, relative to the mean."""
        times = self.bin_seconds * np.arange(bins)
        shape = self.shape.at(times, self.bin_seconds) if self.shape else np.ones(bins)
        return np.asarray(shape * trend_at(self, times))

    def _rates(self, bins: int, rng: np.random.Generator) -> Floats:
        noise = self.noise.draw(bins, self.bin_seconds, rng)
        return self.join(noise, self.bursts.draw(self.expected(bins), self.bin_seconds, rng))

    def join(self, noise: Floats, bursts: Floats) -> Floats:
        """float64 ``(bins,)``; the rate relative to the mean, from its parts."""
        expected = self.expected(len(noise))
        spread = self.noise.spread(expected, self.bin_seconds)
        trend = trend_at(self, self.bin_seconds * np.arange(len(noise)))
        return np.asarray(
            np.clip(self.level * (expected + spread * noise + trend * bursts), 0.0, self.ceiling)
        )


def trend_at(model: FittedModel, times_seconds: NDArray[np.floating]) -> Floats:
    """The trend at times since the trace's start; its mean over the fitted length is 1."""
    growth = model.trend_per_day / DAY_SECONDS
    over = np.maximum(times_seconds - model.fitted_seconds, 0.0)
    damped = model.trend_damping_seconds * -np.expm1(-over / model.trend_damping_seconds)
    whole = growth * model.fitted_seconds
    mean = np.expm1(whole) / whole if abs(whole) > 1e-9 else 1.0
    return np.asarray(np.exp(growth * (np.minimum(times_seconds, model.fitted_seconds) + damped)) / mean)
