"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path to write to, beside the wanted one and with its ending; it becomes that if the block ends well.

    Missing folders are made. However the block ends, nothing else stays behind.

    Raises:
        OSError: naming the wanted file, if it cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".part{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.filename in {None, partial, str(partial)}:
            raise OSError(error.errno, error.strerror or str(error), str(path)) from None
        raise
    finally:
        partial.unlink(missing_ok=True)
