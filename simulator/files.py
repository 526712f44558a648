"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path to write to, beside the wanted one and with its ending; it becomes that if the block ends well.

    Missing folders are made. However the block ends, nothing else stays behind. A link stays and what it
    points to is replaced. What is there and no regular file, such as a pipe, is written to as it is.

    Raises:
        OSError: naming the wanted file, if it cannot be written.
    """
    path = Path(path)
    if _is_device(path):
        yield path
        return
    target = Path(os.path.realpath(path))
    partial = _partial(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(target)
    except OSError as error:
        if error.filename in {None, partial, str(partial)}:
            raise OSError(error.errno, error.strerror or str(error), str(path)) from None
        raise
    finally:
        _remove(partial)


def check_writable(path: str | Path) -> None:
    """Check, before long work, that a file can be written; missing folders are made, the file is not touched.

    Raises:
        OSError: naming the file, or the part of its path that is no folder.
    """
    path = Path(path)
    if path.is_dir():
        raise _error(errno.EISDIR, path)
    if _is_device(path):
        if not os.access(path, os.W_OK):
            raise _error(errno.EACCES, path)
        return
    partial = _partial(Path(os.path.realpath(path)))
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    except FileExistsError as error:
        raise _error(errno.ENOTDIR, Path(error.filename)) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        _remove(partial)


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _partial(target: Path) -> Path:
    return target.with_name(f".part{os.getpid()}-{target.name}")


def _remove(partial: Path) -> None:
    try:
        partial.unlink(missing_ok=True)
    except NotADirectoryError:
        return


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))
