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
    """``name (distribution)`` for each import name that another distribution provides, too.

    What ``importlib.metadata.packages_distributions`` finds for five names, in a sixth of its time:
    files are searched as text, and only a distribution that holds a name is asked for its own.
    """
    clashes = {
        f"{name} ({distribution.name})"
        for distribution in metadata.distributions()
        for name in _provided(distribution)
        if distribution.name != DISTRIBUTION
    }
    return sorted(clashes)


def _provided(distribution: metadata.Distribution) -> list[str]:
    """Those of the import names that a distribution installs or declares."""
    record = distribution.read_text("RECORD") or ""
    declared = (distribution.read_text("top_level.txt") or "").split()
    return [name for name in IMPORT_NAMES if name in declared or _holds(record, name)]


def _holds(record: str, name: str) -> bool:
    """Whether a RECORD lists a package or a module of that name."""
    found = name in record  # most hold none: one quick look before the exact ones
    return found and any(f"\n{name}{end}" in f"\n{record}" for end in ("/", ".py,"))
