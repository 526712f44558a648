"""The metric pipeline: what is measured, over which window, and how late it is seen."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from simulator.latency import percentile_seconds
from simulator.plant import Floats, Ints
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
    """

    time_seconds: float
    offered: Ints
    latency_counts: Ints
    waiting: Ints
    pod_cpu_seconds: Floats
    pod_started_seconds: Floats


@dataclass(frozen=True, slots=True)
class Sample:
    """What one scrape says of the window before it.

    Attributes:
        rate_rps: float64 ``(S,)``; calls offered per second.
        latency_p95_seconds: float64 ``(S,)``; of the calls served in the window, NaN if none was.
        waiting: int64 ``(S,)``; calls that wait.
        pod_cores: float64 by pod row; mean used cores, NaN where the row's pod has no sample.
    """

    time_seconds: float
    rate_rps: Floats
    latency_p95_seconds: Floats
    waiting: Ints
    pod_cores: Floats
    pod_started_seconds: Floats


class Scraper:
    """Turns readings into samples and shows the newest that is old enough to be seen."""

    def __init__(self, pipeline: MetricPipeline) -> None:
        self._pipeline = pipeline
        scrapes = round(pipeline.window_seconds / pipeline.scrape_seconds)
        self._readings: deque[Reading] = deque(maxlen=scrapes + 1)
        self._samples: deque[Sample] = deque()

    @property
    def window_seconds(self) -> float:
        """What a sample is averaged over."""
        return self._pipeline.window_seconds

    def record(self, reading: Reading) -> None:
        """Take one scrape's reading."""
        self._readings.append(reading)
        if len(self._readings) == self._readings.maxlen:
            self._samples.append(_sample(self._readings[0], reading))

    def visible(self, now_seconds: float) -> Sample | None:
        """The newest sample that has come through by now."""
        seen = now_seconds - self._pipeline.lag_seconds
        while len(self._samples) > 1 and self._samples[1].time_seconds <= seen:
            self._samples.popleft()
        if self._samples and self._samples[0].time_seconds <= seen:
            return self._samples[0]
        return None


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
    )
