"""Where a command writes to, checked before its work."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from simulator.errors import InputError
from simulator.files import check_writable


def check_file(option: str, path: Path) -> None:
    """Check that a file can be written; missing folders are made, the file is not touched.

    Raises:
        InputError: naming the option, if the path is a folder, or leads through a file.
        OSError: if it cannot be written for another reason.
    """
    if path.is_dir():
        msg = f"{option} {path} is a folder; it must be a file"
        raise InputError(msg)
    _nearest_folder(option, path, path.parents)
    check_writable(path)


def check_folder(option: str, path: Path) -> None:
    """Check that files can be written to a folder, there or not; nothing is made.

    Raises:
        InputError: naming the option, if the path is a file, or leads through one.
        OSError: if it cannot be made or written to.
    """
    nearest = _nearest_folder(option, path, (path, *path.parents))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _nearest_folder(option: str, path: Path, places: Sequence[Path]) -> Path:
    """The first place that is there.

    Raises:
        InputError: if it is a file.
    """
    found = next(place for place in places if place.exists())
    if not found.is_dir():
        through = "" if found == path else f" {path}:"
        msg = f"{option}{through} {found} is a file; it must be a folder"
        raise InputError(msg)
    return found
