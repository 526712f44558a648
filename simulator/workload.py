"""Workload models: traces drawn from parameters that were fitted to a real one."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arrays import Floats
from simulator.errors import InputError
from simulator.fitted import FittedModel
from simulator.generators import GENERATORS
from simulator.settings import Settings, parse_settings
from simulator.trace import Trace

_DAY_SECONDS = 86_400.0
_BIN_SECONDS = 60.0
_WEEKEND = (5, 6)
_LEVEL_WEEKS = 52
_BURST_SHAPE = 4.0
_KIND = re.compile(r"^kind:", re.MULTILINE)


class DayShape(Settings):
    """Fourier coefficients of the log-rate over a day; the constant term first."""

    cosine: tuple[float, ...] = Field(min_length=1, description="Cosine coefficients, the constant first.")
    sine: tuple[float, ...] = Field(min_length=1, description="Sine coefficients, the first is not used.")

    def log_rate(self, time_of_day: NDArray[np.floating]) -> Floats:
        """Log of the relative rate at times of day, seconds."""
        phases = 2 * np.pi * np.outer(time_of_day / _DAY_SECONDS, np.arange(len(self.cosine)))
        return np.asarray(np.cos(phases) @ np.array(self.cosine) + np.sin(phases) @ np.array(self.sine))


class WorkloadModel(Settings):
    """A daily and weekly shape, slow noise and bursts, in logs of a rate with mean 1.

    ``rate = exp(level + shape + noise + bursts)``: noise is a first-order autoregression per minute;
    bursts come as a Poisson process, jump at once and decay exponentially.
    """

    name: str = Field(description="The model's name.")
    source: str = Field(description="The trace it was fitted to, and under which terms that is available.")
    first_weekday: int = Field(ge=0, le=6, description="Weekday of the first day, 0 is Monday.")
    weekday: DayShape = Field(description="Shape of Monday to Friday.")
    weekend: DayShape = Field(description="Shape of Saturday and Sunday.")
    noise_std: float = Field(ge=0, le=3, description="Standard deviation of the noise in logs.")
    noise_autocorrelation: float = Field(ge=0, lt=1, description="Autocorrelation at one minute.")
    bursts_per_day: float = Field(ge=0, le=1000, description="Rate of bursts.")
    burst_height: float = Field(ge=0, le=5, description="Mean jump of the log-rate; gamma with shape 4.")
    burst_decay_seconds: float = Field(gt=0, le=86_400, description="Time constant of a burst's decay.")
    log_level: float = Field(default=0.0, description="Added to the log-rate so that the long-run mean is 1.")

    def draw(self, duration_seconds: float, mean_rps: float, rng: np.random.Generator) -> Trace:
        """A look-alike in bins of a minute, starting at midnight of the first day.

        Args:
            duration_seconds: rounded up to whole minutes.
            mean_rps: the model's long-run mean; a drawn trace's own mean varies around it.
            rng: the only source of randomness.
        """
        bins = int(np.ceil(duration_seconds / _BIN_SECONDS))
        times = _BIN_SECONDS * np.arange(bins)
        log_rate = self.log_level + self.log_shape(times) + self._noise(bins, rng) + self._bursts(bins, rng)
        requests = np.exp(log_rate) * mean_rps * _BIN_SECONDS
        return Trace(requests, _BIN_SECONDS, name=self.name)

    def log_shape(self, times: NDArray[np.floating]) -> Floats:
        """The log-rate without noise and bursts at times since the first midnight, seconds."""
        weekday = (self.first_weekday + (times // _DAY_SECONDS).astype(int)) % 7
        time_of_day = times % _DAY_SECONDS
        weekend = np.isin(weekday, _WEEKEND)
        return np.where(weekend, self.weekend.log_rate(time_of_day), self.weekday.log_rate(time_of_day))

    def _noise(self, bins: int, rng: np.random.Generator) -> Floats:
        from scipy.signal import lfilter

        steps = rng.standard_normal(bins) * self.noise_std * np.sqrt(1 - self.noise_autocorrelation**2)
        if bins:
            steps[0] = rng.standard_normal() * self.noise_std
        return np.asarray(lfilter([1.0], [1.0, -self.noise_autocorrelation], steps)) - self.noise_std**2 / 2

    def _bursts(self, bins: int, rng: np.random.Generator) -> Floats:
        from scipy.signal import lfilter

        counts = rng.poisson(self.bursts_per_day * _BIN_SECONDS / _DAY_SECONDS, bins)
        jumps = np.where(
            counts > 0, rng.standard_gamma(_BURST_SHAPE * np.maximum(counts, 1)) / _BURST_SHAPE, 0.0
        )
        jumps *= self.burst_height
        decay = np.exp(-_BIN_SECONDS / self.burst_decay_seconds)
        return np.asarray(lfilter([1.0], [1.0, -decay], jumps))


def fit_workload(
    trace: Trace, *, name: str, source: str, first_weekday: int, harmonics: int = 6
) -> WorkloadModel:
    """Fit a model to a trace of at least two days in bins of a minute.

    Shape by least squares on the log-rate; bursts are residuals over three robust standard
    deviations, their height what stands over the noise; noise from the autocovariance of the rest at lags of
    5 and 60 minutes, which the counting noise of single minutes does not touch.
    """
    rate = np.maximum(trace.requests, 0.5) / max(trace.requests.mean(), 1e-9)
    times = trace.bin_seconds * np.arange(len(rate))
    weekend = np.isin((first_weekday + (times // _DAY_SECONDS).astype(int)) % 7, _WEEKEND)
    shapes = {}
    fitted = np.zeros(len(rate))
    for kind, days in (("weekday", ~weekend), ("weekend", weekend if weekend.any() else ~weekend)):
        phases = 2 * np.pi * np.outer(times[days] % _DAY_SECONDS / _DAY_SECONDS, np.arange(harmonics + 1))
        design = np.hstack([np.cos(phases), np.sin(phases[:, 1:])])
        found = np.linalg.lstsq(design, np.log(rate[days]), rcond=None)[0]
        fitted[days] = design @ found
        sine = np.concatenate(([0.0], found[harmonics + 1 :]))
        shapes[kind] = DayShape(
            cosine=tuple(np.round(found[: harmonics + 1], 5)), sine=tuple(np.round(sine, 5))
        )
    model = WorkloadModel(
        name=name,
        source=source,
        first_weekday=first_weekday,
        **shapes,
        **_fit_residual(np.log(rate) - fitted, trace.bin_seconds),
    )
    long_run = model.draw(_LEVEL_WEEKS * 7 * _DAY_SECONDS, 1.0, np.random.default_rng(0)).mean_rps
    return model.model_copy(update={"log_level": round(-float(np.log(long_run)), 5)})


def _fit_residual(residual: Floats, bin_seconds: float) -> dict[str, float]:
    spread = 1.4826 * float(np.median(np.abs(residual - np.median(residual))))
    high = residual > 3 * spread
    starts = np.flatnonzero(high & ~np.roll(high, 1))
    heights = [float(residual[start : start + 5].max()) for start in starts]
    rest = residual[~high] - residual[~high].mean()
    near, far = (float(np.mean(rest[:-lag] * rest[lag:])) for lag in (5, 60))
    correlation = min(max(far / near, 1e-3), 0.999) ** (1 / 55)
    noise_std = float(np.sqrt(max(near / correlation**5, 0.0)))
    days = len(residual) * bin_seconds / _DAY_SECONDS
    lengths = high.sum() / max(len(starts), 1)
    return {
        "noise_std": round(noise_std, 5),
        "noise_autocorrelation": round(correlation, 5),
        "bursts_per_day": round(len(starts) / days, 5),
        "burst_height": round(max(float(np.mean(heights)) - noise_std, 0.0) if heights else 0.0, 5),
        "burst_decay_seconds": round(max(1.0, float(lengths)) * bin_seconds * 2, 1),
    }


def model_names() -> list[str]:
    """The models that ship with setpoint."""
    folder = resources.files("simulator") / "models"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def check_model_name(name: str) -> None:
    """Refuse a task's workload model that does not ship.

    Raises:
        ValueError: saying what a task may have instead.
    """
    names = model_names()
    if name in names:
        return
    if name in GENERATORS:
        msg = f"a made workload is given by its kind and settings, as {{kind: {name}}}"
    elif name.endswith((".yaml", ".yml")):
        msg = "a task takes models that ship; draw a trace from a file with setpoint traces sample, give it as --trace"
    else:
        close = get_close_matches(name, names, n=1, cutoff=0.6)
        guess = f", did you mean {close[0]}?" if close else ""
        there = f"{', '.join(names)}; or made workloads as {{kind: NAME}}: {', '.join(GENERATORS)}"
        msg = f"is no model that ships{guess} (there are: {there})"
    raise ValueError(msg)


@cache
def load_model(name: str) -> WorkloadModel | FittedModel:
    """A model that ships with setpoint, by name.

    Raises:
        InputError: if there is none of that name.
    """
    names = model_names()
    if name not in names:
        msg = f"workload model {name!r} is unknown; there are: {', '.join(names)}"
        raise InputError(msg)
    text = (resources.files("simulator") / "models" / f"{name}.yaml").read_text(encoding="utf-8")
    return parse_model(text, f"workload model {name!r}")


def parse_model(text: str, source: str) -> WorkloadModel | FittedModel:
    """A model from a YAML text; one without ``kind`` is a WorkloadModel.

    Args:
        source: where the text comes from, for errors.

    Raises:
        InputError: naming source, field, value and what is allowed.
    """
    if _KIND.search(text):
        return parse_settings(FittedModel, text, source)
    return parse_settings(WorkloadModel, text, source)
