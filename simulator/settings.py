"""Values that people write as YAML: frozen, checked when made, with errors that name the field."""

from __future__ import annotations

import math
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from simulator.errors import InputError


class Settings(BaseModel):
    """A frozen, checked value that people write as YAML; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


_MOST_LETTERS = 60
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
        raise InputError(_describe(model, source, error)) from None


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


_PLAIN = {
    "model_type": "must hold fields: {name: value, ...}",
    "model_attributes_type": "must hold fields: {name: value, ...}",
    "tuple_type": "must be a list: [...]",
}
"""What pydantic says in words of Python, by the error's type."""


def _describe(model: type[Settings], source: str, error: ValidationError) -> str:
    """One line: source, each field's path, what is wrong and the value."""
    errors = error.errors()
    places = [item["loc"] for item in errors]
    parts = []
    for item in errors:
        place = item["loc"]
        inside = any(len(other) > len(place) and other[: len(place)] == place for other in places)
        if item["type"] == "too_short" and inside:
            continue  # what is wrong with the items is said already, and they are not counted then
        path = ".".join(str(step) for step in place) or "the whole"
        said = _PLAIN.get(item["type"], item["msg"].removeprefix("Value error, "))
        value = item["input"]
        is_said = item["type"] != "missing" and (value is None or isinstance(value, str | int | float))
        given = f" (it is {repr(value)[:_MOST_LETTERS]})" if is_said else ""
        parts.append(f"{path}: {said}{given}{_guess(model, item['type'], place)}")
    return f"{source}: " + "; ".join(parts)


def _guess(model: type[Settings], kind: str, place: tuple[int | str, ...]) -> str:
    """Which field may be meant by one that does not exist."""
    if kind != "extra_forbidden":
        return ""
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    names = {name for part in parts for name in part.get("properties", {})}
    close = get_close_matches(str(place[-1]), names, n=1, cutoff=0.6)
    return f", did you mean {close[0]}?" if close else ""
