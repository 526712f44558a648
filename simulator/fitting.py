"""Fitting a model to a trace: what is left after trend and cycles becomes noise and bursts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Floats
from simulator.errors import InputError
from simulator.fitted import DAY_SECONDS, Bursts, FittedModel, Noise, trend_at
from simulator.fitted_cycles import fit_cycles, fit_trend
from simulator.likeness import Match, compare
from simulator.trace import Trace

LEAST_BINS = 60
_STEPS = 41
_MOST_ORDER = 40
_ROUNDS = 12
_SIMULATED_BINS = 60_000
_POWERS = (0.4, 0.7, 1.0)
_BURST_SPREADS = (6.0, 12.0, 25.0, math.inf)
_MOST_BURST_SHARE = 0.05
_MOST_COMPARED, _COMPARED_BINS = 12, 900_000
_CEILING = 1.2
_LEAST_COUNT = 5.0
_LEAST_CHANCE = 0.35
_LEAST_BURSTS = 3
_LEAST_WIDTH_DAYS = 14
_LEAST_CHANCE_SHARE = 0.05
_LEAST_RECURRING = 0.1
_WIDE_STD = 2.563
_FOOT_SPREADS = 5.0
_TO_STD = 1.4826


@dataclass(frozen=True, slots=True)
class _Burst:
    """An episode above the threshold: its height and what it holds before its top and from there on."""

    height: float
    before: float
    after: float

    @classmethod
    def of(cls, values: Floats) -> _Burst:
        top = int(values.argmax())
        return cls(float(values[top]), float(values[:top].sum()), float(values[top:].sum()))

    @property
    def decay_bins(self) -> float:
        """In how many bins it decays to 1/e: from h on, it holds h / (1 - decay)."""
        decay = min(max(1 - self.height / self.after, 1e-3), 0.999)
        return -1 / math.log(decay)

    @property
    def rise_bins(self) -> float:
        """In how many bins it rises from 1/e: before h, it holds h rise / (1 - rise)."""
        rise = self.before / (self.before + self.height)
        return -1 / math.log(rise) if rise > 1e-3 else 0.0


def fit_model(
    trace: Trace, *, name: str, source: str = "", terms: str = "", first_weekday: int | None = None
) -> FittedModel:
    """A model of a trace, from which look-alikes are drawn.

    Args:
        trace: of at least 60 bins of a day at most, with requests in them.
        name: the model's.
        source: where the trace comes from.
        terms: under which it is available.
        first_weekday: of its start, 0 is Monday; where it is not given, a weekend is looked for.

    Raises:
        InputError: if the trace is too short, too coarse or empty.
    """
    _check(trace)
    mean = float(trace.requests.mean())
    plain = Noise(
        power=1.0, values=(0.0, 0.0), reach=1.0, partial_autocorrelations=(), slow_share=0, slow_seconds=1
    )
    base = FittedModel(
        name=name,
        source=source,
        terms=terms,
        trace_sha256=trace.sha256,
        bin_seconds=trace.bin_seconds,
        fitted_start_seconds=trace.start_seconds,
        fitted_seconds=trace.duration_seconds,
        first_weekday=first_weekday,
        mean_rps=_digits(trace.mean_rps),
        noise=plain,
    )
    rate = trace.requests / mean
    growth = _digits(fit_trend(rate, trace.bin_seconds))
    base = base.model_copy(
        update={"trend_per_day": growth, "trend_damping_seconds": _digits(trace.duration_seconds / 4)}
    )
    flat = rate / trend_at(base, trace.bin_seconds * np.arange(len(rate)))
    base = base.model_copy(update={"shape": fit_cycles(flat / flat.mean(), trace.bin_seconds, first_weekday)})
    return _fit_rest(base, trace)


def _check(trace: Trace) -> None:
    if len(trace.requests) < LEAST_BINS:
        msg = f"{trace.name}: {len(trace.requests)} bins; a model needs at least {LEAST_BINS}"
        raise InputError(msg)
    if trace.bin_seconds > DAY_SECONDS:
        msg = f"{trace.name}: bins of {trace.bin_seconds:g} s; a model needs bins of a day at most"
        raise InputError(msg)
    if np.count_nonzero(trace.requests) < 2:
        msg = f"{trace.name}: {np.count_nonzero(trace.requests)} bins with requests; a model needs at least 2"
        raise InputError(msg)


def _fit_rest(base: FittedModel, trace: Trace) -> FittedModel:
    """Noise and bursts: of the ways to tell them apart, the one whose look-alikes are most like the original."""
    mean = float(trace.requests.mean())
    rate = trace.requests / mean
    expected = base.expected(len(rate))
    trend = trend_at(base, base.bin_seconds * np.arange(len(rate)))
    counting: Literal["poisson", "none"] = _counting(trace.requests)
    base = base.model_copy(
        update={"counting": counting, "ceiling": _digits(max(_CEILING * float(rate.max()), 1.0))}
    )
    chance = 1 / mean if counting == "poisson" else 0.0
    least = (math.inf, base)
    for plain in _ways_to_grow(base, rate - expected, expected):
        spread = plain.spread(expected, base.bin_seconds)
        for threshold in _BURST_SPREADS:
            for taken in _take_bursts(
                (rate - expected) / spread, spread / trend, base.bin_seconds, threshold
            ):
                model = _fit_noise(base, taken, plain, float(np.mean(expected * chance / spread**2)))
                model = _calibrate(model, taken[0], mean)
                distance = _distance(compare(trace, model, _compared(len(rate))))
                least = min(least, (distance, model), key=lambda one: one[0])
    return least[1]


def _ways_to_grow(base: FittedModel, off: Floats, expected: Floats) -> list[Noise]:
    """How the noise's width may hang on the expected rate and on the hour."""
    ways = []
    for power in _POWERS if np.ptp(expected) > 0.05 else _POWERS[-1:]:
        plain = base.noise.model_copy(update={"power": power})
        widths = _fit_widths(off / plain.spread(expected, base.bin_seconds), base.bin_seconds)
        ways.append(plain)
        if len(widths) > 1:
            ways.append(plain.model_copy(update={"widths": widths}))
    return ways


def _compared(bins: int) -> int:
    """How many look-alikes a choice is judged by: fewer of a long trace, which vary less."""
    return min(_MOST_COMPARED, max(4, _COMPARED_BINS // bins))


def _distance(matches: list[Match]) -> float:
    """How far the farthest statistic is off, in units of what is allowed; a little for the others, too."""
    known = [one for one in matches if not math.isnan(one.original)]
    off = [1.0 if math.isnan(one.middle) else abs(one.middle - one.original) / one.allowed for one in known]
    return max(off) + sum(off) / len(off)


def _fit_noise(base: FittedModel, taken: tuple[Floats, Bursts], plain: Noise, chance: float) -> FittedModel:
    rest, bursts = taken
    share = min(chance / max(float(rest.var()), 1e-12), 0.95)
    reach = float(_normal_quantile(1 - 0.5 / len(rest)))
    noise = Noise(
        power=plain.power,
        widths=plain.widths,
        values=tuple(_table(rest, reach, np.sqrt(1 - share))),
        reach=_digits(reach),
        **_fit_memory(_scores(rest), share, base.bin_seconds),
    )
    return base.model_copy(update={"noise": noise, "bursts": bursts})


def _fit_widths(rest: Floats, bin_seconds: float) -> tuple[float, ...]:
    """How wide the noise is in each hour, from two weeks on; drawn towards the whole day where days are few."""
    days = len(rest) * bin_seconds / DAY_SECONDS
    if days < _LEAST_WIDTH_DAYS:
        return (1.0,)
    hour = ((np.arange(len(rest)) + 0.5) * bin_seconds % DAY_SECONDS * 24 / DAY_SECONDS).astype(int)
    if np.bincount(hour, minlength=24).min() < _LEAST_WIDTH_DAYS:
        return (1.0,)
    whole = _robust_variance(rest)
    weights = days / (days + 7)
    variances = np.array([_robust_variance(rest[hour == one]) for one in range(24)])
    widths = np.sqrt(weights * variances / max(whole, 1e-12) + 1 - weights)
    return tuple(_digits(value, 3) for value in np.clip(widths, 0.2, 5.0))


def _robust_variance(values: Floats) -> float:
    low, high = np.quantile(values, (0.1, 0.9))
    return float(((high - low) / _WIDE_STD) ** 2)


def _counting(counts: Floats) -> Literal["poisson", "none"]:
    """Poisson unless neighbouring bins are closer to each other than chance lets them be."""
    jumps = (counts[:-2] - 2 * counts[1:-1] + counts[2:]) ** 2 / 6
    level = np.convolve(counts, np.ones(3) / 3, "valid")
    large = level >= _LEAST_COUNT
    if large.sum() < LEAST_BINS // 2:
        return "poisson"
    ratios = np.sort(jumps[large] / level[large])
    return "poisson" if ratios[: int(0.9 * len(ratios))].mean() >= _LEAST_CHANCE else "none"


def _take_bursts(
    rest: Floats, size: Floats, bin_seconds: float, spreads: float
) -> list[tuple[Floats, Bursts]]:
    """The noise without its episodes of so many robust standard deviations, and these; none if there are too few."""
    if math.isinf(spreads):
        return [(rest, Bursts())]
    middle = float(np.median(rest))
    scale = max(
        _TO_STD * float(np.median(np.abs(rest - middle))), 0.5 * float(np.quantile(rest, 0.9) - middle), 1e-6
    )
    high = _episodes(rest, middle + min(_FOOT_SPREADS, spreads / 2) * scale, middle + spreads * scale)
    if not 0 < high.mean() <= _MOST_BURST_SHARE:
        return []
    edges = np.flatnonzero(np.diff(np.concatenate(([0], high.astype(int), [0]))))
    found = [
        _Burst.of((rest[start:end] - middle) * size[start:end])
        for start, end in zip(edges[::2], edges[1::2], strict=True)
    ]
    if len(found) < _LEAST_BURSTS:
        return []
    found.sort(key=lambda one: one.height)
    rows = [found[place] for place in np.linspace(0, len(found) - 1, min(len(found), 101)).astype(int)]
    bursts = Bursts(
        per_day=_digits(len(found) / (len(rest) * bin_seconds / DAY_SECONDS)),
        heights=tuple(_digits(one.height, 4) for one in rows),
        decay_seconds=tuple(_digits(one.decay_bins * bin_seconds, 4) for one in rows),
        rise_seconds=tuple(_digits(one.rise_bins * bin_seconds, 4) for one in rows),
    )
    kept = rest.copy()
    kept[high] = np.random.default_rng(0).choice(rest[~high], int(high.sum()))
    return [(kept, bursts)]


def _episodes(values: Floats, foot: float, threshold: float) -> NDArray[np.bool_]:
    """Where values are above the foot without a break, and somewhere on the way above the threshold."""
    above = values > foot
    run = np.cumsum(np.diff(np.concatenate(([0], above.astype(int)))) == 1)
    return np.asarray(above & np.isin(run, np.unique(run[values > threshold])))


def _scores(rest: Floats) -> Floats:
    """Ranks as values of a standard normal distribution; equal values have equal scores."""
    from scipy.stats import rankdata

    scores = _normal_quantile((rankdata(rest) - 0.5) / len(rest))
    return np.asarray((scores - scores.mean()) / max(float(scores.std()), 1e-9))


def _normal_quantile(share: Floats | float) -> Floats:
    from scipy.special import ndtri

    return np.asarray(ndtri(share))


def _table(rest: Floats, reach: float, factor: float) -> Floats:
    from scipy.special import ndtr

    values = np.quantile(rest, ndtr(np.linspace(-reach, reach, _STEPS)))
    middle = float(rest.mean())
    return np.asarray(middle + factor * (values - middle))


def _fit_memory(scores: Floats, chance_share: float, bin_seconds: float) -> dict[str, object]:
    """Partial autocorrelations of the fast part, share and memory of the slow one."""
    order = int(min(_MOST_ORDER, len(scores) // 10))
    far = int(min(len(scores) // 4, max(2 * DAY_SECONDS / bin_seconds, 4 * order)))
    found = _autocorrelation(scores, far)
    found[1:] = np.clip(found[1:] / (1 - chance_share), -0.999, 0.9995)
    share, memory_bins = _slow_part(found, order)
    again, correlation = _recurring_part(found, share, memory_bins, round(DAY_SECONDS / bin_seconds))
    if chance_share > _LEAST_CHANCE_SHARE:
        slow = share * np.exp(-np.arange(order + 1) / memory_bins)
        fast = (found[: order + 1] - slow) / max(1 - share, 1e-3)
        partial = _levinson(_positive(fast))
    else:
        share, memory_bins = 0.0, 1.0
        partial = _burg(scores, order)
    partial = partial[: _best_order(partial, len(scores))]
    return {
        "partial_autocorrelations": tuple(
            round(float(one), 6) for one in np.clip(partial, -0.99999, 0.99999)
        ),
        "slow_share": round(share, 4),
        "slow_seconds": _digits(memory_bins * bin_seconds),
        "recurring_share": round(min(again, 1 - share), 4),
        "recurring_correlation": round(correlation, 4),
    }


def _autocorrelation(values: Floats, lags: int) -> Floats:
    size = 1 << int(2 * len(values) - 1).bit_length()
    power = np.abs(np.fft.rfft(values - values.mean(), size)) ** 2
    sums = np.fft.irfft(power, size)[: lags + 1]
    return np.asarray(sums / sums[0]) if sums[0] > 1e-9 else np.eye(1, lags + 1)[0]


def _slow_part(found: Floats, order: int) -> tuple[float, float]:
    """Share and memory in bins of the exponential closest to the autocorrelation beyond the fast part's reach."""
    lags = np.unique(np.geomspace(order, len(found) - 1, 60).astype(int))
    best = (np.inf, 0.0, 1.0)
    for memory in np.geomspace(order, 4 * len(found), 40):
        curve = np.exp(-lags / memory)
        share = float(np.clip(curve @ found[lags] / (curve @ curve), 0.0, 0.98))
        error = float(((found[lags] - share * curve) ** 2).sum())
        if error < best[0]:
            best = (error, share, float(memory))
    return (best[1], best[2]) if best[1] > 0.03 else (0.0, 1.0)


def _recurring_part(found: Floats, slow_share: float, memory_bins: float, day: int) -> tuple[float, float]:
    """Share of what comes again next day and its correlation, from what one and two days exceed the slow part."""
    if len(found) <= 2 * day:
        return 0.0, 0.0
    one, two = (float(found[lag] - slow_share * np.exp(-lag / memory_bins)) for lag in (day, 2 * day))
    if one < _LEAST_RECURRING:
        return 0.0, 0.0
    correlation = min(max(two / one, 0.3), 0.95)
    return min(one / correlation, 0.8 * (1 - slow_share)), correlation


def _positive(found: Floats) -> Floats:
    """The nearest autocorrelation that a process can have: its spectrum is cut at a floor."""
    taper = 1 - np.arange(len(found)) / (20 * len(found))
    values = found * taper
    values[0] = 1.0
    spectrum = np.fft.hfft(np.concatenate((values, np.zeros(7 * len(values)))))
    spectrum = np.maximum(spectrum, 0.01 * np.abs(spectrum).mean())
    again = np.fft.ihfft(spectrum).real[: len(found)]
    return np.asarray(again / again[0])


def _levinson(found: Floats) -> Floats:
    """Partial autocorrelations of an autocorrelation. Source: J. Durbin, 1960."""
    weights, error, partial = np.empty(0), 1.0, []
    for lag in range(1, len(found)):
        value = float((found[lag] - weights @ found[lag - 1 : 0 : -1][: len(weights)]) / error)
        value = min(max(value, -0.9999), 0.9999)
        weights = np.append(weights - value * weights[::-1], value)
        error *= 1 - value**2
        partial.append(value)
    return np.array(partial)


def _burg(values: Floats, order: int) -> Floats:
    """Partial autocorrelations of a series. Source: J. P. Burg, Maximum entropy spectral analysis, 1975."""
    ahead, behind = values[1:].copy(), values[:-1].copy()
    partial = []
    for _ in range(order):
        value = 2 * float(ahead @ behind) / max(float(ahead @ ahead + behind @ behind), 1e-12)
        partial.append(value)
        ahead, behind = ahead - value * behind, behind - value * ahead
        ahead, behind = ahead[1:], behind[:-1]
    return np.array(partial)


def _best_order(partial: Floats, bins: int) -> int:
    """By Schwarz's criterion."""
    errors = np.concatenate(([0.0], np.cumsum(np.log1p(-np.minimum(partial**2, 1 - 1e-12)))))
    return int(np.argmin(bins * errors + np.log(bins) * np.arange(len(errors))))


def _calibrate(model: FittedModel, rest: Floats, mean_count: float) -> FittedModel:
    """Move the noise's values until look-alikes, with their counting noise, have the quantiles of the original.

    Quantiles do not hang on the order of bins, so the process is an even sample of its distribution here.
    """
    from scipy.special import ndtr

    bins = len(rest)
    repeats = max(1, round(_SIMULATED_BINS / bins))
    expected = np.tile(model.expected(bins), repeats)
    spread = np.tile(model.noise.spread(expected[:bins], model.bin_seconds), repeats)
    places = np.linspace(-model.noise.reach, model.noise.reach, _STEPS)
    wanted = np.quantile(rest, ndtr(places))
    values = np.array(model.noise.values)
    even = _normal_quantile((np.arange(len(expected)) + 0.5) / len(expected))
    for turn in range(_ROUNDS):
        rng = np.random.default_rng(turn)
        rates = np.maximum(expected + spread * np.interp(rng.permutation(even), places, values), 0.0)
        drawn = (model.count(rates * mean_count, rng) / mean_count - expected) / spread
        values = values + 0.6 * (wanted - np.quantile(drawn, ndtr(places)))
        values = np.maximum.accumulate(np.maximum(values, -float((expected / spread).max()) - 0.5))
    noise = model.noise.model_copy(update={"values": tuple(_digits(value) for value in values)})
    rng = np.random.default_rng(_ROUNDS)
    drawn = np.interp(rng.permutation(even), places, noise.values)
    model = model.model_copy(update={"noise": noise})
    rates = [
        model.join(part, model.bursts.draw(expected[:bins], model.bin_seconds, rng))
        for part in np.split(drawn, repeats)
    ]
    return model.model_copy(update={"level": _digits(1 / max(float(np.mean(rates)), 0.01))})


def _digits(value: float, digits: int = 5) -> float:
    return float(f"{value:.{digits}g}")
