"""Numbers and names as people read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from agents.registry import is_bundle

_MOST_DIGITS = 12


def plain_number(value: float, digits: int = _MOST_DIGITS) -> str:
    """So many significant digits, more where an exponent would stand for the rest of a large number."""
    short = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in short else short


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
