"""The five import names are generic: make sure that they are ours."""

from __future__ import annotations

from functools import cache
from importlib import metadata

from simulator.errors import InputError

DISTRIBUTION = "setpoint"
IMPORT_NAMES = ("simulator", "envs", "agents", "controllers", "experiments")


@cache
def check_import_names() -> None:
    """Check that no other distribution installed a package of the same name.

    An editable install lists no files, so a name without an owner is ours as well.

    Raises:
        InputError: naming the distributions that clash.
    """
    clashes = find_clashes()
    if clashes:
        msg = (
            f"setpoint shares import names with other distributions: {'; '.join(clashes)}. "
            "Uninstall them or use an environment of its own for setpoint"
        )
        raise InputError(msg)


def find_clashes() -> list[str]:
    """``name (distribution)`` for each import name that another distribution provides, too."""
    clashes: list[str] = []
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name == DISTRIBUTION:
            continue
        record = distribution.read_text("RECORD") or distribution.read_text("top_level.txt") or ""
        owned = (package for package in IMPORT_NAMES if _holds(record, package))
        clashes.extend(f"{package} ({name})" for package in owned)
    return sorted(set(clashes))


def _holds(record: str, package: str) -> bool:
    """Whether a RECORD lists files of a package, or a top_level.txt names it."""
    lines = f"\n{record.strip()}\n"
    return f"\n{package}/" in lines or f"\n{package}\n" in lines
