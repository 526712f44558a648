"""``make``: from a policy's spec to a Policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from agents.baselines.fixed import FixedSettings, make_fixed
from agents.baselines.hpa import HpaSettings, make_hpa
from agents.bundle import SUFFIX, make_learned
from agents.policy import Context, Policy
from simulator.errors import InputError
from simulator.settings import Settings


@dataclass(frozen=True, slots=True)
class Entry:
    """A deployable rule: its settings, its maker and a line about it."""

    settings: type[Settings]
    make: Callable[[Any, Context], Policy]
    summary: str


RULES: dict[str, Entry] = {
    "fixed": Entry(FixedSettings, make_fixed, "always the same number of replicas"),
    "hpa": Entry(HpaSettings, make_hpa, "the Kubernetes HorizontalPodAutoscaler v2 on CPU"),
}


@dataclass(frozen=True, slots=True)
class Spec:
    """``NAME:key=value,key=value`` or a Bundle's path, taken apart."""

    name: str
    settings: dict[str, Any]

    def __str__(self) -> str:
        """The spec as it is written on a command line."""
        pairs = ",".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.name}:{pairs}" if pairs else self.name


def is_bundle(spec: str) -> bool:
    """Whether a spec is a Bundle's path, there or not."""
    if spec.partition(":")[0] in RULES:
        return False
    return spec.endswith(SUFFIX) or "/" in spec or Path(spec).is_file()


def parse_spec(spec: str) -> Spec:
    """Take a rule's spec apart.

    Raises:
        InputError: if a setting is not of the form ``key=value``.
    """
    name, _, rest = spec.partition(":")
    settings: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
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


def _describe(spec: Spec, entry: Entry, error: ValidationError) -> str:
    allowed = ", ".join(entry.settings.model_fields)
    parts = []
    for item in error.errors():
        name = ".".join(str(place) for place in item["loc"])
        if item["type"] == "extra_forbidden":
            parts.append(f"setting {name!r} is unknown; there are: {allowed}")
        elif item["type"] == "missing":
            parts.append(f"setting {name!r} is needed")
        else:
            given = f"{name} is {item['input']!r}: " if name else ""
            parts.append(given + item["msg"].removeprefix("Value error, "))
    return f"policy {spec}: " + "; ".join(parts)
