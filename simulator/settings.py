"""Values that people write as YAML: frozen, checked when made, with errors that name the field."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from simulator.errors import InputError


class Settings(BaseModel):
    """A frozen, checked value that people write as YAML; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


Model = TypeVar("Model", bound=Settings)


def parse_settings(model: type[Model], text: str, source: str) -> Model:
    """Settings from a YAML text.

    Args:
        source: where the text comes from, for errors.

    Raises:
        InputError: naming source, field, value and what is allowed.
    """
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        msg = f"{source}: not a YAML file ({' '.join(str(error).split())})"
        raise InputError(msg) from None
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(_describe(source, error)) from None


def read_text(path: Path, what: str, hint: str = "") -> str:
    """A text file's content.

    Args:
        what: what the file is meant to be, for errors.
        hint: what to do where there is no such file.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"{path}: no such {what}{hint}"
        raise InputError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read as a {what} ({error})"
        raise InputError(msg) from None


def is_whole_multiple(whole: float, part: float) -> bool:
    """Whether ``whole`` is 1, 2, 3 ... times ``part``, but for rounding (0.3 is 3 times 0.1)."""
    ratio = whole / part
    return round(ratio) >= 1 and math.isclose(ratio, round(ratio), rel_tol=1e-9)


def _describe(source: str, error: ValidationError) -> str:
    """One line: source, each field's path, what is wrong and the value."""
    parts = []
    errors = error.errors()
    places = [item["loc"] for item in errors]
    for item in errors:
        depth = len(item["loc"])
        inside = any(len(place) > depth and place[:depth] == item["loc"] for place in places)
        if item["type"] == "too_short" and inside:
            continue  # what is wrong with the items is said already, and they are not counted then
        path = ".".join(str(place) for place in item["loc"]) or "the whole"
        value = repr(item["input"])
        given = (
            ""
            if item["type"] == "missing"
            else f" (it is {value if len(value) <= 60 else value[:57] + '...'})"
        )
        parts.append(f"{path}: {item['msg'].removeprefix('Value error, ')}{given}")
    return f"{source}: " + "; ".join(parts)
