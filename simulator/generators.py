"""Made workloads: a shape with a few parameters instead of one fitted to a trace.

Each draws a Trace whose mean over the long run is ``mean_rps``; what is random is said in its docstring.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag, model_validator

from simulator.arrays import Floats
from simulator.processes import Level, ModulatedProcess, Probability, Sojourn
from simulator.settings import Settings
from simulator.trace import Trace

_DAY_SECONDS = 86_400.0
_WEEK_DAYS = 7
_HOUR_SECONDS = 3600.0
_WEEKEND = (5, 6)
_FINE_SECONDS, _PLAIN_SECONDS = 1.0, 60.0
_LONG_MEMORY_SECONDS = 600.0
Seconds = Annotated[float, Field(ge=1, le=1e7)]


class Steady(Settings):
    """The same rate at all times, in bins of 60 s; nothing is random."""

    kind: Literal["steady"] = "steady"

    def draw(self, duration_seconds: float, mean_rps: float, rng: np.random.Generator) -> Trace:  # noqa: ARG002
        """A trace of whole bins that covers the duration; its mean is exact."""
        return _trace(np.ones(_bins(duration_seconds, _PLAIN_SECONDS)), _PLAIN_SECONDS, mean_rps, self.kind)


class Diurnal(Settings):
    """Days with one top and one trough, and weekends, in bins of 60 s; nothing is random.

    The log-rate is a cosine of the day. The mean of a whole week is exact.
    """

    kind: Literal["diurnal"] = "diurnal"
    peak_to_trough: float = Field(default=4.0, ge=1, le=1e4, description="Highest over lowest rate of a day.")
    peak_hour: float = Field(default=14.0, ge=0, lt=24, description="When a day is at its top, hours.")
    weekend_factor: float = Field(
        default=0.6, gt=0, le=100, description="Saturday and Sunday are a weekday times this."
    )
    first_weekday: int = Field(default=0, ge=0, le=6, description="Of time 0, 0 is Monday.")

    def draw(self, duration_seconds: float, mean_rps: float, rng: np.random.Generator) -> Trace:  # noqa: ARG002
        """A trace of whole bins that covers the duration, from midnight on."""
        bins = _bins(duration_seconds, _PLAIN_SECONDS)
        week = self._shape(round(_WEEK_DAYS * _DAY_SECONDS / _PLAIN_SECONDS))
        return _trace(self._shape(bins) / week.mean(), _PLAIN_SECONDS, mean_rps, self.kind)

    def _shape(self, bins: int) -> Floats:
        times = _PLAIN_SECONDS * (np.arange(bins) + 0.5)
        weekday = (self.first_weekday + (times // _DAY_SECONDS).astype(int)) % _WEEK_DAYS
        phase = 2 * np.pi * (times / _DAY_SECONDS - self.peak_hour / 24)
        day = np.exp(0.5 * np.log(self.peak_to_trough) * np.cos(phase))
        return np.asarray(day * np.where(np.isin(weekday, _WEEKEND), self.weekend_factor, 1.0))


class Ramp(Settings):
    """From one level straight to another, in bins of 1 s; nothing is random.

    The mean over what is drawn is exact.
    """

    kind: Literal["ramp"] = "ramp"
    growth: float = Field(default=5.0, gt=0, le=1e4, description="Last over first level; below 1 it falls.")
    begin_share: float = Field(default=0.25, ge=0, lt=1, description="Where it begins, share of the trace.")
    end_share: float = Field(default=0.75, gt=0, le=1, description="Where it ends, share of the trace.")

    @model_validator(mode="after")
    def _in_order(self) -> Ramp:
        if self.end_share <= self.begin_share:
            msg = f"end_share ({self.end_share:g}) must be above begin_share ({self.begin_share:g})"
            raise ValueError(msg)
        return self

    def draw(self, duration_seconds: float, mean_rps: float, rng: np.random.Generator) -> Trace:  # noqa: ARG002
        """A trace of whole bins that covers the duration."""
        bins = _bins(duration_seconds, _FINE_SECONDS)
        places = (np.arange(bins) + 0.5) / max(bins, 1)
        shape = np.interp(places, (self.begin_share, self.end_share), (1.0, self.growth))
        return _trace(_to_mean_one(shape), _FINE_SECONDS, mean_rps, self.kind)


class Bursty(Settings):
    """A rate that jumps between levels as a Markov chain does, in bins of 1 s.

    The chain and its code are those of the arrival process ``mmpp``. There the trace keeps its mean
    rate and the level stays hidden; here the levels are the trace, so that what a policy is shown
    of the past has them, too. Time in each state and the order of states are random. The mean is
    that of the long run; variance of the rate: ``sum(p f^2) - 1`` times the mean's square, with p the
    share of time in each state and f its factor.
    """

    kind: Literal["bursty"] = "bursty"
    levels: tuple[Level, ...] = Field(
        default=(1.0, 6.0),
        min_length=2,
        max_length=64,
        description="The rate in each state, relative to the others.",
    )
    mean_sojourn_seconds: tuple[Sojourn, ...] = Field(
        default=(600.0, 60.0),
        min_length=2,
        max_length=64,
        description="How long the chain stays in each state; exponential.",
    )
    transitions: tuple[tuple[Probability, ...], ...] | None = Field(
        default=None,
        description="Row i: the probability that the chain jumps from state i to each state; "
        "to each other state alike if not given.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Bursty:
        self.chain()
        return self

    def chain(self) -> ModulatedProcess:
        """The Markov chain of the levels."""
        return ModulatedProcess(
            levels=self.levels,
            mean_sojourn_seconds=self.mean_sojourn_seconds,
            transitions=self.transitions,
        )

    def draw(self, duration_seconds: float, mean_rps: float, rng: np.random.Generator) -> Trace:
        """A trace of whole bins that covers the duration; the chain starts as in the long run."""
        return _trace(_levels(self.chain(), duration_seconds, rng), _FINE_SECONDS, mean_rps, self.kind)


class FlashCrowd(Settings):
    """A steady rate with crowds that rise, stay and leave, in bins of 1 s.

    When they come is random unless it is given; where they meet, they add up. The mean over what is drawn is exact.
    """

    kind: Literal["flash_crowd"] = "flash_crowd"
    peak: float = Field(default=8.0, ge=1, le=1e4, description="A crowd's top, times the rate without it.")
    every_seconds: Seconds | None = Field(
        default=None, description="One comes in each such stretch of time; one in all if not given."
    )
    at_seconds: float | None = Field(
        default=None, ge=0, le=1e9, description="When each begins, from the start of its stretch; or drawn."
    )
    rise_seconds: Seconds = Field(default=60.0, description="From the usual rate to the top, in a line.")
    hold_seconds: float = Field(default=300.0, ge=0, le=1e7, description="How long the top lasts.")
    decay_seconds: Seconds = Field(default=600.0, description="In which what is on top falls to 1/e.")

    def draw(self, duration_seconds: float, mean_rps: float, rng: np.random.Generator) -> Trace:
        """A trace of whole bins that covers the duration."""
        bins = _bins(duration_seconds, _FINE_SECONDS)
        times = _FINE_SECONDS * (np.arange(bins) + 0.5)
        length = bins * _FINE_SECONDS
        stretch = min(self.every_seconds or length, length)
        count = int(np.ceil(length / stretch)) if bins else 0
        places = rng.random(count) * stretch if self.at_seconds is None else self.at_seconds
        begins = stretch * np.arange(count) + places
        shape = np.ones(bins)
        for begin in begins:
            since = times - begin
            falling = np.maximum(since - self.rise_seconds - self.hold_seconds, 0.0) / self.decay_seconds
            shape += (self.peak - 1) * np.clip(since / self.rise_seconds, 0.0, 1.0) * np.exp(-falling)
        return _trace(_to_mean_one(shape), _FINE_SECONDS, mean_rps, self.kind)


class RandomWalk(Settings):
    """A rate that wanders and comes back: the log-rate is an Ornstein-Uhlenbeck process.

    Bins of 60 s, of 1 s where it forgets within 10 minutes. It starts as it is in the long run, whose
    mean is ``mean_rps``; the logs have the given standard deviation, the rate the coefficient of
    variation ``sqrt(exp(std^2) - 1)``.
    """

    kind: Literal["random_walk"] = "random_walk"
    std: float = Field(default=0.5, ge=0, le=3, description="Standard deviation of the log-rate.")
    memory_seconds: Seconds = Field(default=3600.0, description="In which a deviation falls to 1/e.")

    def draw(self, duration_seconds: float, mean_rps: float, rng: np.random.Generator) -> Trace:
        """A trace of whole bins that covers the duration."""
        from scipy.signal import lfilter

        width = _FINE_SECONDS if self.memory_seconds < _LONG_MEMORY_SECONDS else _PLAIN_SECONDS
        memory = np.exp(-width / self.memory_seconds)
        steps = rng.standard_normal(_bins(duration_seconds, width)) * self.std
        steps[1:] *= np.sqrt(1 - memory**2)
        logs = lfilter([1.0], [1.0, -memory], steps)
        return _trace(np.exp(logs - self.std**2 / 2), width, mean_rps, self.kind)


class OnOff(Settings):
    """Load that is there and gone again, in bins of 1 s.

    The times of either are exponential, or always the same from a random moment of the first cycle
    on. The mean is that of the long run, so while it is on the rate is
    ``mean (on + off) / (on + off_level off)``.
    """

    kind: Literal["on_off"] = "on_off"
    on_seconds: Seconds = Field(default=300.0, description="Mean time that it is on.")
    off_seconds: Seconds = Field(default=900.0, description="Mean time that it is off.")
    off_level: float = Field(default=0.0, ge=0, le=1, description="The rate while off, relative to on.")
    regular: bool = Field(default=False, description="Whether the times are always the same.")

    def draw(self, duration_seconds: float, mean_rps: float, rng: np.random.Generator) -> Trace:
        """A trace of whole bins that covers the duration."""
        if not self.regular:
            chain = ModulatedProcess(
                levels=(1.0, self.off_level), mean_sojourn_seconds=(self.on_seconds, self.off_seconds)
            )
            return _trace(_levels(chain, duration_seconds, rng), _FINE_SECONDS, mean_rps, self.kind)
        cycle = self.on_seconds + self.off_seconds
        edges = rng.random() * cycle + _FINE_SECONDS * np.arange(_bins(duration_seconds, _FINE_SECONDS) + 1)
        whole, rest = np.divmod(edges, cycle)
        on = whole * self.on_seconds + np.minimum(rest, self.on_seconds)
        share = np.clip(np.diff(on) / _FINE_SECONDS, 0.0, 1.0)
        level = share + (1 - share) * self.off_level
        mean = (self.on_seconds + self.off_level * self.off_seconds) / cycle
        return _trace(level / mean, _FINE_SECONDS, mean_rps, self.kind)


Generator = Steady | Diurnal | Ramp | Bursty | FlashCrowd | RandomWalk | OnOff
GeneratorSettings = Annotated[Generator, Field(discriminator="kind")]
ModelSettings = Annotated[
    Annotated[str, Tag("name")] | Annotated[GeneratorSettings, Tag("made")],
    Discriminator(lambda value: "made" if isinstance(value, dict | Settings) else "name"),
]
"""A model that ships by its name, or a made workload as ``{kind: flash_crowd, ...}``."""
GENERATORS: dict[str, type[Generator]] = {
    "steady": Steady,
    "diurnal": Diurnal,
    "ramp": Ramp,
    "bursty": Bursty,
    "flash_crowd": FlashCrowd,
    "random_walk": RandomWalk,
    "on_off": OnOff,
}


def _bins(duration_seconds: float, bin_seconds: float) -> int:
    return int(np.ceil(duration_seconds / bin_seconds - 1e-9))


def _trace(shape: Floats, bin_seconds: float, mean_rps: float, name: str) -> Trace:
    return Trace(shape * mean_rps * bin_seconds, bin_seconds, name=name)


def _to_mean_one(shape: Floats) -> Floats:
    return np.asarray(shape / shape.mean()) if len(shape) else shape


def _levels(chain: ModulatedProcess, duration_seconds: float, rng: np.random.Generator) -> Floats:
    """float64 ``(T,)``; the mean factor of the chain's path in each bin."""
    from simulator.modulated import LevelPath

    bins = _bins(duration_seconds, _FINE_SECONDS)
    path = LevelPath(chain, rng)
    ends, totals = [np.zeros(1)], [np.zeros(1)]
    while ends[-1][-1] < bins * _FINE_SECONDS:
        block, _, factors = path.next_block()
        lengths = np.diff(block, prepend=ends[-1][-1])
        totals.append(totals[-1][-1] + np.cumsum(lengths * factors))
        ends.append(block)
    edges = _FINE_SECONDS * np.arange(bins + 1)
    reached = np.interp(edges, np.concatenate(ends), np.concatenate(totals))
    return np.asarray(np.maximum(np.diff(reached), 0.0) / _FINE_SECONDS)
