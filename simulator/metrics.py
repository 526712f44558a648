"""The metric pipeline: what is measured, over which window, and how late it is seen."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from simulator.dataplane import OFFERED, Totals
from simulator.latency import percentile_seconds
from simulator.plant import Floats
from simulator.scenario import MetricPipeline


@dataclass(frozen=True, slots=True)
class Reading:
    """All counters of one service at one scrape.

    Attributes:
        pod_busy_seconds: float64 by pod row.
        pod_started_seconds: float64 by pod row; when the row's pod began to run, inf if it has not.
    """

    time_seconds: float
    totals: Totals
    waiting: int
    pod_busy_seconds: Floats
    pod_started_seconds: Floats


@dataclass(frozen=True, slots=True)
class Sample:
    """What one scrape says of the window before it.

    Attributes:
        rate_rps: requests offered per second.
        latency_p95_seconds: of the requests served in the window, NaN if none was.
        pod_busy: float64 by pod row; mean busy slots, NaN where the row's pod has no sample.
    """

    time_seconds: float
    rate_rps: float
    latency_p95_seconds: float
    waiting: int
    pod_busy: Floats
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
    change = now.totals.since(before.totals)
    baseline = np.zeros_like(now.pod_busy_seconds)
    rows = len(before.pod_busy_seconds)
    same_pod = now.pod_started_seconds[:rows] == before.pod_started_seconds
    baseline[:rows] = np.where(same_pod, before.pod_busy_seconds, 0.0)
    with np.errstate(invalid="ignore"):
        busy = (now.pod_busy_seconds - baseline) / window
    return Sample(
        time_seconds=now.time_seconds,
        rate_rps=int(change.counts[OFFERED]) / window,
        latency_p95_seconds=percentile_seconds(change.latency_counts, 0.95),
        waiting=now.waiting,
        pod_busy=np.where(np.isfinite(now.pod_started_seconds), busy, np.nan),
        pod_started_seconds=now.pod_started_seconds,
    )
