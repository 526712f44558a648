"""How alike two traces are: the statistics that a look-alike has to share with its original."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulator.arrays import Floats
from simulator.fitted import DAY_SECONDS, FittedModel
from simulator.trace import Trace

_MEDIAN_BINS = 25
_MEDIAN_SECONDS = 7200.0
_LEAST_BURSTS = 5


@dataclass(frozen=True, slots=True)
class Statistic:
    """One number of a trace, and how far a look-alike's may be from it.

    Attributes:
        about: what it is, for people.
        share: allowed difference relative to the original's; the number itself for logs of ratios.
        absolute: allowed difference besides.
        trusted_for: what look-alikes are good for if it matches.
    """

    about: str
    share: float
    absolute: float
    trusted_for: str


STATISTICS = {
    "mean_rps": Statistic("mean, requests/s", 0.15, 0.0, "the amount of load"),
    "peak_to_mean": Statistic("peak to mean, by the bin", 0.35, 0.3, "the height of peaks"),
    "variation": Statistic("coefficient of variation", 0.25, 0.05, "how much load varies"),
    "lag1": Statistic("autocorrelation, one bin", 0.0, 0.15, "what the next bin is like"),
    "daily": Statistic("autocorrelation, one day", 0.0, 0.2, "daily cycles"),
    "weekly": Statistic("autocorrelation, one week", 0.0, 0.2, "weekly cycles"),
    "burst_share": Statistic("share of bins over twice the running median", 0.6, 0.01, "how often it bursts"),
    "burst_bins": Statistic("mean length of such bursts, bins", 0.6, 1.0, "how long bursts last"),
    "dispersion": Statistic("index of dispersion of counts", 0.5, 0.5, "bursts and slow swings together"),
}


def measure(trace: Trace) -> dict[str, float]:
    """Each statistic of a trace; NaN where it is too short for one.

    ``dispersion`` is variance over mean of the bins' counts; the running median is over two hours
    or 25 bins, whichever is longer, and of at least one request; lengths are told from five bursts on.
    """
    counts, mean = trace.requests, float(trace.requests.mean())
    if mean <= 0:
        return dict.fromkeys(STATISTICS, math.nan) | {"mean_rps": 0.0}
    high = counts > 2 * np.maximum(running_median(trace), 1.0)
    starts = int(np.count_nonzero(np.diff(np.concatenate(([0], high.astype(int)))) == 1))
    day = round(DAY_SECONDS / trace.bin_seconds)
    return {
        "mean_rps": trace.mean_rps,
        "peak_to_mean": float(counts.max()) / mean,
        "variation": float(counts.std()) / mean,
        "lag1": autocorrelation(counts, 1),
        "daily": autocorrelation(counts, day) if len(counts) >= 2 * day else math.nan,
        "weekly": autocorrelation(counts, 7 * day) if len(counts) >= 14 * day else math.nan,
        "burst_share": float(high.mean()),
        "burst_bins": float(high.sum()) / starts if starts >= _LEAST_BURSTS else math.nan,
        "dispersion": float(counts.var()) / mean,
    }


def running_median(trace: Trace) -> Floats:
    """float64 ``(T,)``; the median of the bins around each."""
    from scipy.ndimage import median_filter

    bins = max(_MEDIAN_BINS, round(_MEDIAN_SECONDS / trace.bin_seconds)) | 1
    return np.asarray(median_filter(trace.requests, size=min(bins, len(trace.requests) | 1), mode="nearest"))


def autocorrelation(values: Floats, lag: int) -> float:
    """Correlation of values with those so many places later; NaN where they do not vary."""
    early, late = values[:-lag], values[lag:]
    if lag >= len(values) or early.std() == 0 or late.std() == 0:
        return math.nan
    return float(np.corrcoef(early, late)[0, 1])


@dataclass(frozen=True, slots=True)
class Match:
    """One statistic of an original and of its look-alikes.

    Attributes:
        name: as in STATISTICS.
        original: the original's.
        middle: the look-alikes' median.
        low: their least.
        high: their greatest.
        allowed: how far the median may be from the original's.
    """

    name: str
    original: float
    middle: float
    low: float
    high: float
    allowed: float

    @property
    def fits(self) -> bool:
        """Whether the median is close enough, or the original has no value to be close to."""
        if math.isnan(self.original):
            return True
        return abs(self.middle - self.original) <= self.allowed


def compare(original: Trace, model: FittedModel, count: int = 20, seed: int = 0) -> list[Match]:
    """Each statistic of the original against that of so many look-alikes of the same length."""
    found = measure(original)
    drawn = [
        measure(model.look_alike(np.random.default_rng((seed, place)), original.duration_seconds))
        for place in range(count)
    ]
    matches = []
    for name, about in STATISTICS.items():
        values = np.array([one[name] for one in drawn])
        values = values[~np.isnan(values)]
        middle, low, high = (
            (float(f(values)) for f in (np.median, np.min, np.max)) if values.size else (math.nan,) * 3
        )
        allowed = about.share * abs(found[name]) + about.absolute
        matches.append(Match(name, found[name], middle, low, high, allowed))
    return matches
