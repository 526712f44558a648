"""What is searched of each rule.

The axes are numbers that mean the same for every load and service: shares of what a pod serves, of the need and of
requests. What they come to is computed from the Ground.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from agents.baselines.staffing import known
from agents.space import Ground, Range, Space
from simulator.arrays import Floats

DAY_HOURS: Final = 24
_HOUR_SECONDS: Final = 3600.0
_MINUTE_SECONDS: Final = 60.0
_TARGETS: Final = tuple(round(0.30 + 0.05 * step, 2) for step in range(14))
_WINDOWS_SECONDS: Final = (0, 60, 300, 600)
_SCALE_UP: Final = ("default", "gentle")

HPA: Final = Space("hpa", {"target": _TARGETS, "window": _WINDOWS_SECONDS, "scale_up": _SCALE_UP})

TARGET_TRACKING: Final = Space(
    "target_tracking",
    {"target": _TARGETS, "scale_out_cooldown": (0, 60, 300), "scale_in_cooldown": (0, 60, 300)},
)

STAFFING: Final = Space(
    "staffing",
    {
        "headroom": tuple(round(0.05 * step, 2) for step in range(21)),
        "window": _WINDOWS_SECONDS,
        "wait_probability": (0.001, 0.01, 0.1),
    },
)

PID: Final = Space(
    "pid",
    {
        "target": Range(0.3, 0.95),
        "ki": Range(0.001, 0.05, log=True),
        "kp": Range(0.0, 2.0),
        "down": Range(0.01, 1.0, log=True),
    },
)

PREDICTIVE_HPA: Final = Space(
    "predictive_hpa",
    {
        "target": tuple(percent / 100 for percent in range(30, 96)),
        "window": (0, 30, 60, 120, 300, 600),
        "quantile": Range(0.5, 0.99),
    },
)

MPC: Final = Space(
    "mpc",
    {
        "level": Range(0.5, 0.99),
        "headroom": Range(0.0, 0.5),
        "horizon": (0, 60, 300, 600, 1800),
    },
)


def _served_rps(rule: str, ground: Ground) -> Floats:
    """Requests/s that a pod of each service serves at most, float64 ``(S,)``."""
    context = ground.context
    return known(
        rule, "capacity", "requests/s a pod serves", None, context.capacity_rps, len(context.services)
    )


def _needs(rule: str, ground: Ground, rate_rps: Floats) -> Floats:
    """Pods, not whole ones, of the neediest service that client rates ``(T,)`` keep fully used; float64 ``(T,)``."""
    calls = np.nan_to_num(ground.context.calls_per_request, nan=1.0)
    return np.asarray(rate_rps * (calls / _served_rps(rule, ground)).max())


def _whole_pods(needs: Floats, ground: Ground) -> list[int]:
    """Rounded up, within what every service may have."""
    low, high = ground.context.min_replicas.max(), ground.context.max_replicas.min()
    return [int(pods) for pods in np.clip(np.ceil(needs), low, max(low, high))]


def _fixed(values: Mapping[str, Any], ground: Ground) -> dict[str, Any]:
    highest = _needs("fixed", ground, ground.load.rate_rps).max(keepdims=True)
    return {"replicas": _whole_pods(values["peak"] * highest, ground)[0]}


FIXED: Final = Space("fixed", {"peak": tuple(round(0.2 + 0.01 * step, 2) for step in range(181))}, _fixed)
"""``peak`` is a multiple of the pods that the highest rate of the load keeps fully used."""


def _keda(values: Mapping[str, Any], ground: Ground) -> dict[str, Any]:
    served = float(_served_rps("keda", ground).min())
    target = float(f"{values['share'] * served:.3g}")
    return {"target": target, "window": values["window"], "scale_up": values["scale_up"]}


KEDA: Final = Space("keda", {"share": _TARGETS, "window": _WINDOWS_SECONDS, "scale_up": _SCALE_UP}, _keda)
"""``share`` is the target, requests/s a replica, over what a pod serves at most."""


def _step_scaling(values: Mapping[str, Any], _: Ground) -> dict[str, Any]:
    steps = (
        {"lower": 0, "upper": 0.1, "adjustment": values["percent"]},
        {"lower": 0.1, "adjustment": 3 * values["percent"]},
    )
    return {
        "high": values["high"],
        "low": round(values["high"] - values["gap"], 2),
        "scale_out": {"steps": list(steps), "min_adjustment_magnitude": 1, "cooldown": values["cooldown"]},
    }


STEP_SCALING: Final = Space(
    "step_scaling",
    {
        "high": _TARGETS[3:],
        "gap": (0.1, 0.2, 0.3),
        "percent": (10, 20, 40),
        "cooldown": (60, 300),
    },
    _step_scaling,
)
"""``low`` is ``gap`` below ``high``; a step out adds ``percent``, three times as much from 10 points over ``high``."""


def _schedule(values: Mapping[str, Any], ground: Ground) -> dict[str, Any]:
    needs = _needs_by_hour(ground, values["hours"], values["quantile"]) / values["share"]
    pods = _whole_pods(needs, ground)
    lines = []
    for place, count in enumerate(pods):
        before = pods[place - 1]
        if count != before or len(set(pods)) == 1:
            minute = place * values["hours"] * 60 - (values["lead"] if count > before else 0)
            hour, minute = divmod(minute % (DAY_HOURS * 60), 60)
            lines.append(f"{minute} {hour} * * * = {count}")
        if len(set(pods)) == 1:
            break
    return {"lines": lines}


SCHEDULE: Final = Space(
    "schedule",
    {"share": _TARGETS, "quantile": (0.5, 0.9, 1.0), "hours": (1, 2, 4, 8), "lead": (0, 15)},
    _schedule,
)
"""Every ``hours`` of the day as many pods as the ``quantile`` of its minutes' rates keeps busy to a ``share``; more
pods come ``lead`` minutes earlier. Hours that the load does not have get what all of it needs."""


def _needs_by_hour(ground: Ground, hours: int, quantile: float) -> Floats:
    """Pods fully used in each part of the day, by the trace's own clock, float64 ``(24 / hours,)``."""
    load = ground.load
    if load.bin_seconds < _MINUTE_SECONDS <= load.duration_seconds:
        load = load.resample(_MINUTE_SECONDS)
    rates = load.rate_rps
    middles = load.start_seconds + load.bin_seconds * (np.arange(len(rates)) + 0.5)
    parts = (middles // (hours * _HOUR_SECONDS)).astype(np.int64) % (DAY_HOURS // hours)
    everything = np.quantile(rates, quantile)
    found = [
        np.quantile(rates[parts == part], quantile) if (parts == part).any() else everything
        for part in range(DAY_HOURS // hours)
    ]
    return _needs("schedule", ground, np.array(found))
