"""``make``: from a policy's spec to a Policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from agents.baselines import (
    fixed,
    hpa,
    keda,
    mpc,
    pid,
    predictive,
    schedule,
    spaces,
    staffing,
    step_scaling,
    target_tracking,
    vpa,
)
from agents.bundle import SUFFIX, make_learned
from agents.each import Each, Share
from agents.policy import Context, Policy
from agents.space import Space
from simulator.errors import InputError
from simulator.settings import Settings


@dataclass(frozen=True, slots=True)
class Entry:
    """A deployable rule.

    Attributes:
        make: takes settings for all clusters, or a sequence of those of each of N.
        summary: a line about it.
        varied: the settings that the clusters of such a sequence may differ in.
        space: what is searched of it; None of a rule that does not change replicas.
        refits: whether it learns more of a single cluster than of one of N.
    """

    settings: type[Settings]
    make: Callable[[Any, Context], Policy]
    summary: str
    varied: frozenset[str]
    space: Space | None
    refits: bool = False


RULES: dict[str, Entry] = {
    "fixed": Entry(
        fixed.FixedSettings,
        fixed.make_fixed,
        "always the same number of replicas",
        fixed.VARIED,
        spaces.FIXED,
    ),
    "hpa": Entry(
        hpa.HpaSettings, hpa.make_hpa, "the Kubernetes HorizontalPodAutoscaler v2", hpa.VARIED, spaces.HPA
    ),
    "keda": Entry(
        keda.KedaSettings,
        keda.make_keda,
        "KEDA's ScaledObject: by request rate, queue or another metric, to zero, too",
        keda.VARIED,
        spaces.KEDA,
    ),
    "target_tracking": Entry(
        target_tracking.TargetTrackingSettings,
        target_tracking.make_target_tracking,
        "AWS target tracking on CPU or requests a pod",
        target_tracking.VARIED,
        spaces.TARGET_TRACKING,
    ),
    "step_scaling": Entry(
        step_scaling.StepScalingSettings,
        step_scaling.make_step_scaling,
        "AWS step scaling: alarms and steps of capacity",
        step_scaling.VARIED,
        spaces.STEP_SCALING,
    ),
    "vpa": Entry(
        vpa.VpaSettings,
        vpa.make_vpa,
        "the Vertical Pod Autoscaler: CPU and memory that pods request; replicas as they are",
        vpa.VARIED,
        None,
    ),
    "schedule": Entry(
        schedule.ScheduleSettings,
        schedule.make_schedule,
        "replicas by the clock: cron lines",
        schedule.VARIED,
        spaces.SCHEDULE,
    ),
    "pid": Entry(pid.PidSettings, pid.make_pid, "a PID controller on CPU or latency", pid.VARIED, spaces.PID),
    "staffing": Entry(
        staffing.StaffingSettings,
        staffing.make_staffing,
        "as few replicas as bear the measured rate, by Erlang C or the square-root rule",
        staffing.VARIED,
        spaces.STAFFING,
    ),
    "predictive_hpa": Entry(
        predictive.PredictiveHpaSettings,
        predictive.make_predictive_hpa,
        "the HPA with a forecast in its rule, ahead of the start-up delay",
        predictive.VARIED,
        spaces.PREDICTIVE_HPA,
        refits=True,
    ),
    "mpc": Entry(
        mpc.MpcSettings,
        mpc.make_mpc,
        "model predictive control: as few pods as bear the forecast load with a given chance",
        mpc.VARIED,
        spaces.MPC,
        refits=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Spec:
    """``NAME:key=value,key=value`` or a Bundle's path, taken apart."""

    name: str
    settings: dict[str, Any]

    def __str__(self) -> str:
        """The spec as it is written on a command line."""
        pairs = ",".join(f"{key}={_written(value)}" for key, value in self.settings.items())
        return f"{self.name}:{pairs}" if pairs else self.name


def is_bundle(spec: str) -> bool:
    """Whether a spec is a Bundle's path, there or not."""
    if spec.partition(":")[0] in RULES:
        return False
    return spec.endswith(SUFFIX) or "/" in spec or Path(spec).is_file()


def parse_spec(spec: str) -> Spec:
    """Take a rule's spec apart; a value is YAML, and a list or mapping may have commas of its own.

    Raises:
        InputError: if a setting is not of the form ``key=value``.
    """
    name, _, rest = spec.partition(":")
    settings: dict[str, Any] = {}
    for pair in filter(None, split_outside(rest)):
        key, equals, value = pair.partition("=")
        if not equals or not key or not value or key in settings:
            msg = f"policy {spec!r}: {pair!r} must be one setting as key=value, each key once"
            raise InputError(msg)
        try:
            settings[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):
            msg = f"policy {spec!r}: the value of {pair!r} cannot be read; quote it as in YAML"
            raise InputError(msg) from None
    return Spec(name, settings)


def split_outside(text: str) -> list[str]:
    """The parts of a text between its commas; those in brackets, braces or quotes part nothing."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "[{":
            depth += 1
        elif sign in "]}":
            depth -= 1
        if sign == "," and depth <= 0 and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _written(value: object) -> str:
    """A setting's value as YAML in one line."""
    if isinstance(value, dict | list):
        text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf)
        return text.strip()
    return str(value)


def check_settings(spec: Spec) -> Settings:
    """A rule's settings, checked.

    Raises:
        InputError: naming the rule, the setting, its value and what is allowed.
    """
    entry = RULES.get(spec.name)
    if entry is None:
        names = ", ".join(sorted(RULES))
        msg = f"policy {spec.name!r} is unknown; there are: {names}, and any bundle by its path (*{SUFFIX})"
        raise InputError(msg)
    try:
        return entry.settings.model_validate(spec.settings)
    except ValidationError as error:
        raise InputError(_describe(spec, entry, error)) from None


def make(spec: str, context: Context) -> Policy:
    """A Policy from its spec: a registry name with settings, or a Bundle's path.

    Raises:
        InputError: if the name, a setting or the Bundle is wrong.
    """
    if is_bundle(spec):
        return make_learned(spec, context)
    parsed = parse_spec(spec)
    settings = check_settings(parsed)
    return RULES[parsed.name].make(settings, context)


def make_each(specs: Sequence[str], context: Context) -> Policy:
    """One Policy for N clusters, each of which it decides for as its own spec alone would.

    Clusters whose settings differ only in what their rule takes as arrays share one policy. Forecasts differ once a
    single cluster's forecaster would refit: see ``agents.baselines.outlook.Outlook``.

    Raises:
        InputError: if a name, a setting or a Bundle is wrong, or the periods differ.
    """
    shares = []
    for places in decided_together(specs):
        first = specs[places[0]]
        if is_bundle(first):
            policy: Policy = make_learned(first, context)
        else:
            settings = {spec: check_settings(parse_spec(spec)) for spec in {specs[place] for place in places}}
            rule = RULES[parse_spec(first).name]
            policy = rule.make([settings[specs[place]] for place in places], context)
        shares.append(Share.of(places, policy))
    return shares[0].policy if len(shares) == 1 else Each(shares)


def decided_together(specs: Sequence[str]) -> list[list[int]]:
    """The places of those specs that share one policy, in rising order each.

    Raises:
        InputError: if a name, a setting or a Bundle is wrong.
    """
    keys = {spec: _in_common(spec) for spec in dict.fromkeys(specs)}
    groups: dict[str, list[int]] = {key: [] for key in keys.values()}
    for place, spec in enumerate(specs):
        groups[keys[spec]].append(place)
    return list(groups.values())


def _in_common(spec: str) -> str:
    """What clusters must have in common to be decided for together."""
    if is_bundle(spec):
        return spec
    rule = parse_spec(spec)
    settings = check_settings(rule)
    return f"{rule.name} {settings.model_dump_json(exclude=set(RULES[rule.name].varied))}"


def _describe(spec: Spec, entry: Entry, error: ValidationError) -> str:
    allowed = ", ".join(entry.settings.model_fields)
    parts = []
    for item in error.errors():
        name = ".".join(str(place) for place in item["loc"])
        if item["type"] == "extra_forbidden":
            known = f"; there are: {allowed}" if len(item["loc"]) == 1 else ""
            parts.append(f"setting {name!r} is unknown{known}")
        elif item["type"] == "missing":
            parts.append(f"setting {name!r} is needed")
        else:
            given = f"{name} is {item['input']!r}: " if name else ""
            parts.append(given + item["msg"].removeprefix("Value error, "))
    return f"policy {spec}: " + "; ".join(parts)
