"""A PID controller on CPU utilisation or on latency, in velocity form.

Source: Astrom and Murray, Feedback Systems, 2nd ed., chapter 11 (velocity form, anti-windup, bumpless transfer); the
default gains are SIMC's for a plant that is all delay (Skogestad, Simple analytic rules for model reduction and
PID controller tuning, 2003): no P, and an I of half the inverse of the delay, a minute of metrics and start-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from pydantic import Field

from agents.baselines.hpa_behavior import Bounds
from agents.baselines.reasons import join_reasons
from agents.policy import Context, Mask, floats_by_cluster
from simulator.arrays import Floats, Ints
from simulator.plant import Desired, Snapshot
from simulator.settings import Settings

VARIED: Final = frozenset({"target", "kp", "ki", "kd", "down"})
"""Settings that the clusters of one Pid may differ in."""
_LEAST, _MOST = 0.5, 2.0
"""Factors of the replicas in one decision."""
_MOST_ERROR: Final = 1.0


class PidSettings(Settings):
    """Settings of a PID controller; fewest and most replicas come from the Context."""

    signal: Literal["cpu", "latency"] = Field(
        default="cpu", description="cpu: CPU used over CPU requested; latency: its 95th percentile, seconds."
    )
    target: float = Field(default=0.6, gt=0, le=3600, description="Value of the signal to steer to.")
    kp: float = Field(default=0.0, ge=0, le=100, description="Gain on the error's change.")
    ki: float = Field(default=0.008, ge=0, le=10, description="Gain on the error, a second.")
    kd: float = Field(default=0.0, ge=0, le=10_000, description="Gain on the change of its change, seconds.")
    down: float = Field(
        default=0.1, gt=0, le=1, description="What is left of a change that removes replicas, as a fraction."
    )
    tolerance: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="The integral rests while the signal over its target is so close to 1.",
    )
    starting: bool = Field(
        default=True,
        description="Of cpu: count on pods that are wanted and not ready yet, so that nothing is added twice.",
    )
    period: float = Field(default=15.0, ge=1, le=3600, description="Seconds between two decisions.")


class Pid:
    """A PID controller of which replicas are the output, one policy for all services and clusters.

    With ``e = signal / target - 1``, at most 1, the replicas are multiplied by

        ``1 + kp (e[k] - e[k-1]) + ki T e[k] + kd / T (e[k] - 2 e[k-1] + e[k-2])``

    within a half and the double, so a gain means the same for 5 and for 150 replicas. Of what would remove replicas
    only the share ``down`` is taken, since too few cost more than too many, and errors within ``tolerance`` are not
    integrated. The output is kept unrounded and within the bounds, which is all that anti-windup takes in velocity
    form. It starts from what is wanted, and again where somebody else changed that (bumpless). With ``starting``
    the CPU of the ready pods is taken to spread over all that are wanted.

    Where the signal is missing the count is held, and the errors before it are forgotten.

    Args:
        settings: for all clusters, or of each of N, which differ in VARIED alone.
    """

    def __init__(
        self,
        settings: PidSettings | Sequence[PidSettings],
        bounds: Bounds,
        services: tuple[str, ...] = (),
    ) -> None:
        each = (settings,) if isinstance(settings, PidSettings) else settings
        self.settings = each[0]
        self._target, self._kp, self._ki, self._kd, self._down = (
            floats_by_cluster([getattr(one, name) for one in each])
            for name in ("target", "kp", "ki", "kd", "down")
        )
        self._bounds, self._services = bounds, services
        self._output = self._last = self._before = np.array(np.nan)
        self._asked: Ints = np.array(-1)

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        return self.settings.period

    def decide(self, snapshot: Snapshot) -> Desired:
        """The next output."""
        current, signal = snapshot.wanted, self._signal(snapshot)
        if self._output.shape != current.shape:
            self._output, self._asked = current.astype(np.float64), current.copy()
            self._last, self._before = np.full(current.shape, np.nan), np.full(current.shape, np.nan)
        known = ~np.isnan(signal)
        error = np.minimum(signal / self._target - 1.0, _MOST_ERROR)
        last = np.where(np.isnan(self._last), error, self._last)
        before = np.where(np.isnan(self._before), last, self._before)
        step = self.settings.period
        summed = np.where(np.abs(error) <= self.settings.tolerance, 0.0, error)
        change = (
            self._kp * (error - last)
            + self._ki * step * summed
            + self._kd / step * (error - 2 * last + before)
        )
        change = np.where(change < 0, self._down * change, change)
        output = np.where(current == self._asked, self._output, current)
        moved = output * np.clip(1.0 + change, _LEAST, _MOST)
        moved = np.clip(moved, self._bounds.fewest, self._bounds.most)
        self._output = np.where(known, moved, output)
        replicas = np.where(known, np.rint(self._output), current).astype(np.int64)
        self._asked = replicas.copy()
        self._last, self._before = error, np.where(known, last, np.nan)
        return Desired(replicas, self._reason(signal, replicas) if current.ndim == 1 else "")

    def reset(self, mask: Mask | None = None) -> None:
        """Forget errors and output; with a mask ``(...)``, only of the clusters where it is True."""
        if self._output.ndim:
            where = ... if mask is None else mask
            self._last[where] = self._before[where] = np.nan
            self._asked[where] = -1

    def _signal(self, snapshot: Snapshot) -> Floats:
        if self.settings.signal == "latency":
            return snapshot.latency_p95.value
        if not self.settings.starting:
            return snapshot.cpu.value
        share = np.minimum(snapshot.ready / np.maximum(snapshot.wanted, 1), 1.0)
        return snapshot.cpu.value * share

    def _reason(self, signal: Floats, replicas: Ints) -> str:
        name, target = self.settings.signal, self.settings.target
        texts = [
            f"{name} unknown, held"
            if np.isnan(value)
            else f"{name} {value:.4g}, target {target:g} -> {count}"
            for value, count in zip(signal, replicas, strict=True)
        ]
        return join_reasons(self._services, texts)


def make_pid(settings: PidSettings | Sequence[PidSettings], context: Context) -> Pid:
    """A Pid within the Context's bounds, for all clusters or with settings for each."""
    return Pid(settings, Bounds(context.min_replicas, context.max_replicas), context.services)
