"""Model predictive control: the cheapest replicas of the coming minutes that bear the load with a given chance.

Source: Maciejowski, Predictive Control with Constraints, 2002 (receding horizon); Charnes and Cooper,
Chance-constrained programming, 1959 (a chance constraint on one random right-hand side is a quantile).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from pydantic import Field

from agents.baselines.hpa_behavior import Bounds
from agents.baselines.outlook import Expected, Outlook, OutlookSettings
from agents.baselines.reasons import join_reasons
from agents.baselines.staffing import Serving, ServingSettings, known, make_serving
from agents.policy import Context, Mask, floats_by_cluster
from simulator.arrays import Floats, Ints
from simulator.plant import Desired, Snapshot

VARIED: Final = frozenset({"level", "headroom", "horizon"})
"""Settings that the clusters of one Mpc may differ in."""
_LATE_SECONDS: Final = 120.0
"""Rates older than this are not waited for any longer."""


class MpcSettings(ServingSettings, OutlookSettings):
    """Settings of model predictive control; what is not given comes from the Context."""

    level: float = Field(
        default=0.99,
        ge=0.01,
        le=0.99,
        description="Chance with which the load of each minute is to be within what the pods bear.",
    )
    headroom: float = Field(
        default=0.05,
        ge=0,
        le=10,
        description="Load beyond that quantile, as a fraction: what it varies by within a minute.",
    )
    horizon: float = Field(
        default=0.0,
        ge=0,
        le=3600,
        description="Seconds ahead, of which the highest load keeps pods from being removed.",
    )
    start_up: float | None = Field(
        default=None, gt=0, le=3600, description="Seconds until a pod is ready; the task's if not given."
    )
    drain: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="Seconds in which the requests that wait are to be worked off.",
    )
    up: int | None = Field(
        default=None, ge=1, le=100_000, description="Most pods that a decision adds; any if not given."
    )
    down: int | None = Field(
        default=None, ge=1, le=100_000, description="Most pods that a decision removes; any if not given."
    )
    period: float = Field(default=15.0, ge=1, le=3600, description="Seconds between two decisions.")


class Mpc:
    """Model predictive control with chance constraints on forecast quantiles, one policy for all services and clusters.

    At each decision, over steps ``j`` of the forecast, with ``w`` the pods asked for, ``n`` those that serve and ``d``
    the start-up delay in steps:

        minimise ``sum_j w[j]``
        so that  ``P(load[j] <= what n[j] pods bear) >= level``,  ``n[j] = min(w[j-d .. j])``,
        ``w[j] <= w[j-1] + up``, ``w[j] >= w[j-1] - down``, ``fewest <= w[j] <= most``

    and ``w[0]`` is asked for. A pod costs from its creation, and one that is removed is gone at once; what earlier
    orders leave too little for can be helped by none.

    More pods bear more, so the chance constraint is ``n[j] >= need[j]``: the fewest pods that bear the forecast's
    quantile at ``level``, by Erlang C or the square-root rule (``staffing.Serving``). ``n[j]`` is a minimum over the
    orders that are at work at ``j``, so that holds for all ``j`` if and only if

        ``w[j] >= max(need[j .. j+d])``  for all ``j``,

    a bound on each ``w[j]`` alone. Without ramps all of them can be met with equality at once, so no term of the sum
    can be smaller: ``w[0] = max(need[0 .. d])`` is exact, for whole pods too, and takes no solver. With ``up``, what is
    needed in ``i`` decisions more is begun in time: ``w[0] >= need - i up``, again the smallest of all solutions;
    ``down`` bounds the move itself. Where ``up`` or ``most`` leave no solution, as much as they allow is asked for.

    What goes beyond that problem, since forecasts are wrong: ``headroom`` is added to the quantile; pods are removed
    only as far as the highest need until ``horizon`` allows; and where the rate as measured is above the present bin's
    quantile, the whole forecast is raised by their ratio. Requests that wait (``queue``) are added to the load, over
    ``drain`` seconds; a missing queue counts as empty. The rate's age counts towards ``d``.

    Where the rate is missing the count is held. Before any forecast the load is the rate as measured; the reason says
    where a simpler forecaster than asked for is at work.

    Args:
        settings: for all clusters, or of each of N, which differ in VARIED alone.
        serving: what pods bear.
        start_up_seconds: float64 ``(S,)``.
    """

    def __init__(
        self,
        settings: MpcSettings | Sequence[MpcSettings],
        context: Context,
        serving: Serving,
        start_up_seconds: Floats,
    ) -> None:
        each = (settings,) if isinstance(settings, MpcSettings) else settings
        self.settings = each[0]
        self._bounds = Bounds(context.min_replicas, context.max_replicas)
        self._services, self._serving, self._start_up_seconds = context.services, serving, start_up_seconds
        self._level = floats_by_cluster([one.level for one in each])
        self._headroom = floats_by_cluster([one.headroom for one in each])
        self._horizon = floats_by_cluster([one.horizon for one in each])
        dead = float(start_up_seconds.max()) + self.settings.period + _LATE_SECONDS
        furthest = max(dead, float(np.max(self._horizon)))
        self._outlook = Outlook(self.settings, int(np.ceil(furthest / self.settings.bin)) + 1, context)

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        return self.settings.period

    def decide(self, snapshot: Snapshot) -> Desired:
        """The first move of the cheapest plan."""
        current, rate = snapshot.wanted, snapshot.rate.value
        expected = self._outlook.observe(snapshot)
        loads = self._loads(snapshot, expected)
        needs = self._needs(np.nan_to_num(loads))
        wish = self._first_move(current, needs, self._decisions_left(snapshot, expected), expected)
        unknown = np.isnan(rate)
        replicas = np.where(unknown, current, wish)
        return Desired(replicas, self._reason(rate, loads, expected, replicas) if current.ndim == 1 else "")

    def reset(self, mask: Mask | None = None) -> None:
        """Forget the rates; with a mask ``(...)``, only those of the clusters where it is True."""
        self._outlook.reset(mask)

    def _loads(self, snapshot: Snapshot, expected: Expected) -> Floats:
        """Requests/s to bear in each bin, float64 ``(..., S, H)``; NaN where the rate is missing."""
        rate = snapshot.rate.value[..., np.newaxis]
        path = (1.0 + np.asarray(self._headroom)[..., np.newaxis]) * expected.at(self._level)
        path = np.where(np.isnan(path), rate, path)
        now = path[..., :1]
        raised = np.divide(rate, now, out=np.ones_like(now), where=now > 0)
        loads = np.maximum(path * np.maximum(raised, 1.0), np.where(now > 0, 0.0, rate))
        return np.asarray(loads + np.nan_to_num(snapshot.queue.value)[..., np.newaxis] / self.settings.drain)

    def _needs(self, loads: Floats) -> Ints:
        """The fewest pods that bear each load, within bounds, int64 ``(..., S, H)``."""
        erlangs = np.swapaxes(loads, -1, -2) * self._serving.service_seconds
        pods = np.maximum(self._serving.pods(erlangs, self._bounds.most), self._bounds.fewest)
        return np.swapaxes(pods, -1, -2)

    def _decisions_left(self, snapshot: Snapshot, expected: Expected) -> Ints:
        """How many decisions more there are before pods must be asked for that serve in each bin, ``(..., S, H)``."""
        age = snapshot.rate.age_seconds
        late = np.where(np.isfinite(age), np.clip(age, 0.0, _LATE_SECONDS), 0.0)
        begins = np.maximum(expected.begins_seconds, 0.0)[..., np.newaxis, :]
        slack = begins - (self._start_up_seconds + late)[..., np.newaxis]
        return np.maximum(np.floor(slack / self.settings.period), 0.0).astype(np.int64)

    def _first_move(self, current: Ints, needs: Ints, left: Ints, expected: Expected) -> Ints:
        settings, none = self.settings, self._bounds.fewest[:, np.newaxis]
        before = np.where(left == 0, 0, needs.max(initial=0)) if settings.up is None else left * settings.up
        urgent = np.maximum(needs - before, none).max(axis=-1)
        horizon = np.asarray(self._horizon)[..., np.newaxis]
        within = (left == 0) | (expected.begins_seconds[..., np.newaxis, :] < horizon)
        kept = np.where(within, needs, none).max(axis=-1)
        wish = np.maximum(urgent, np.minimum(current, kept))
        most = self._bounds.most if settings.up is None else current + settings.up
        least = self._bounds.fewest if settings.down is None else current - settings.down
        wish = np.clip(wish, least, most)
        return np.asarray(np.clip(wish, self._bounds.fewest, self._bounds.most))

    def _reason(self, rate: Floats, loads: Floats, expected: Expected, replicas: Ints) -> str:
        texts = []
        for now, path, note, count in zip(rate, loads, expected.notes, replicas, strict=True):
            if np.isnan(now):
                texts.append("rate unknown, held")
            else:
                texts.append(
                    f"{now:.4g} requests/s now, {path[0]:.4g} to {path.max():.4g} to bear ({note}) -> {count}"
                )
        return join_reasons(self._services, texts)


def make_mpc(settings: MpcSettings | Sequence[MpcSettings], context: Context) -> Mpc:
    """An Mpc within the Context's bounds, for all clusters or with settings for each.

    Raises:
        InputError: if neither the settings nor the Context say what a pod serves, how long it takes to start, or
            what the SLO is.
    """
    first = settings if isinstance(settings, MpcSettings) else settings[0]
    what = "how many seconds a pod takes to start"
    start_up = known("mpc", "start_up", what, first.start_up, context.start_up_seconds, len(context.services))
    return Mpc(settings, context, make_serving("mpc", first, context), start_up)
