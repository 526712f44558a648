"""Numbers and names as people read them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from agents.registry import is_bundle

_MOST_DIGITS = 12
_PERCENT_DIGITS = 3
_DASH = "\N{EN DASH}"


def plain_number(value: float, digits: int = _MOST_DIGITS) -> str:
    """So many significant digits, more where an exponent would stand for the rest of a large number."""
    short = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in short else short


def percent(ratio: float, limit: float = math.nan) -> str:
    """A ratio in percent to three significant digits, or to as many more as tell it from a limit; a dash for NaN."""
    if math.isnan(ratio):
        return _DASH
    digits = _PERCENT_DIGITS
    while (
        ratio != limit
        and digits < _MOST_DIGITS
        and plain_number(100 * ratio, digits) == plain_number(100 * limit)
    ):
        digits += 1
    return plain_number(100 * ratio, digits)


def duration(seconds: float) -> str:
    """In seconds, minutes or hours, whichever is the largest that is reached."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{plain_number(seconds / size, 4)} {unit}"
    return f"{plain_number(seconds, 4)} s"


def short_names(policies: Iterable[str]) -> dict[str, str]:
    """What each policy is called: a Bundle by its file's name where no other has it, the rest by its spec."""
    names = {policy: Path(policy).name if is_bundle(policy) else policy for policy in policies}
    counts = Counter(names.values())
    return {policy: name if counts[name] == 1 else policy for policy, name in names.items()}
