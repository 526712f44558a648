"""The metric pipeline: what is measured, over which window, and how late it is seen."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from simulator.arrays import Floats, Ints
from simulator.latency import percentile_seconds
from simulator.scenario import MetricPipeline


@dataclass(frozen=True, slots=True)
class Reading:
    """All counters at one scrape.

    Attributes:
        offered: int64 ``(S,)``; calls since the beginning.
        latency_counts: int64 ``(S, B)``; served calls since the beginning, by latency bucket.
        waiting: int64 ``(S,)``; calls that wait.
        pod_cpu_seconds: float64 by pod row; core-seconds used.
        pod_started_seconds: float64 by pod row; when the row's pod began to run, inf if it has not.
        pod_memory_gib: float64 by pod row; memory in use, empty where nobody looks at it.
    """

    time_seconds: float
    offered: Ints
    latency_counts: Ints
    waiting: Ints
    pod_cpu_seconds: Floats
    pod_started_seconds: Floats
    pod_memory_gib: Floats


@dataclass(frozen=True, slots=True)
class Sample:
    """What one scrape says of the window before it.

    Attributes:
        rate_rps: float64 ``(S,)``; calls offered per second.
        latency_p95_seconds: float64 ``(S,)``; of the calls served in the window, NaN if none was.
        waiting: int64 ``(S,)``; calls that wait.
        pod_cores: float64 by pod row; mean used cores, NaN where the row's pod has no sample.
        pod_memory_gib: float64 by pod row; memory in use, NaN in the same rows, or empty.
    """

    time_seconds: float
    rate_rps: Floats
    latency_p95_seconds: Floats
    waiting: Ints
    pod_cores: Floats
    pod_started_seconds: Floats
    pod_memory_gib: Floats


class Scraper:
    """Turns readings into samples and shows the newest that is old enough to be seen.

    Args:
        rng: of noise and gaps; nothing is drawn where there are none.
    """

    def __init__(self, pipeline: MetricPipeline, rng: np.random.Generator) -> None:
        self._pipeline = pipeline
        self._rng = rng
        scrapes = round(pipeline.window_seconds / pipeline.scrape_seconds)
        self._readings: deque[Reading] = deque(maxlen=scrapes + 1)
        self._samples: deque[Sample] = deque()
        self._frozen_seconds = np.inf
        self._is_out = False
        self.last_seconds = -np.inf
        """When the newest measurement ended that has been seen, -inf if there is none."""

    @property
    def window_seconds(self) -> float:
        """What a sample is averaged over."""
        return self._pipeline.window_seconds

    def fail(self, *, out: bool, frozen_seconds: float) -> None:
        """From now on nothing is seen, or nothing newer than what was seen at a time; inf is no such time."""
        self._is_out = out
        self._frozen_seconds = frozen_seconds

    def record(self, reading: Reading) -> None:
        """Take one scrape's reading; it may be lost, and the next one's window is longer then.

        After an outage windows begin anew.
        """
        pipeline = self._pipeline
        if self._is_out:
            self._readings.clear()
            return
        if pipeline.gap_probability and self._rng.random() < pipeline.gap_probability:
            return
        self._readings.append(reading)
        begin = reading.time_seconds - pipeline.window_seconds * (1 + 1e-9)
        while len(self._readings) > 2 and self._readings[1].time_seconds <= begin:
            self._readings.popleft()
        if reading.time_seconds - self._readings[0].time_seconds >= pipeline.window_seconds * (1 - 1e-9):
            sample = _sample(self._readings[0], reading)
            self._samples.append(self._noisy(sample) if pipeline.noise else sample)

    def visible(self, now_seconds: float) -> Sample | None:
        """The newest sample that has come through by now, unless that is too old."""
        seen = min(now_seconds, self._frozen_seconds) - self._pipeline.lag_seconds
        while len(self._samples) > 1 and self._samples[1].time_seconds <= seen:
            self._samples.popleft()
        if not self._samples or self._samples[0].time_seconds > seen:
            return None
        if self._is_out:
            return None
        sample = self._samples[0]
        self.last_seconds = sample.time_seconds
        oldest = now_seconds - self._pipeline.lag_seconds - self._pipeline.stale_seconds
        return None if sample.time_seconds < oldest else sample

    def _noisy(self, sample: Sample) -> Sample:
        """With each value times a gamma variable of mean 1."""
        shape = 1 / self._pipeline.noise**2

        def blur(values: Floats) -> Floats:
            return values * self._rng.gamma(shape, 1 / shape, np.shape(values))

        return replace(
            sample,
            rate_rps=blur(sample.rate_rps),
            latency_p95_seconds=blur(sample.latency_p95_seconds),
            pod_cores=blur(sample.pod_cores),
            pod_memory_gib=blur(sample.pod_memory_gib),
        )


def _sample(before: Reading, now: Reading) -> Sample:
    window = now.time_seconds - before.time_seconds
    baseline = np.zeros_like(now.pod_cpu_seconds)
    rows = len(before.pod_cpu_seconds)
    same_pod = now.pod_started_seconds[:rows] == before.pod_started_seconds
    baseline[:rows] = np.where(same_pod, before.pod_cpu_seconds, 0.0)
    with np.errstate(invalid="ignore"):
        cores = (now.pod_cpu_seconds - baseline) / window
    served = now.latency_counts - before.latency_counts
    return Sample(
        time_seconds=now.time_seconds,
        rate_rps=(now.offered - before.offered) / window,
        latency_p95_seconds=np.array([percentile_seconds(counts, 0.95) for counts in served]),
        waiting=now.waiting,
        pod_cores=np.where(np.isfinite(now.pod_started_seconds), cores, np.nan),
        pod_started_seconds=now.pod_started_seconds,
        pod_memory_gib=now.pod_memory_gib,
    )
