"""Tables in CSV files: read whole, with errors that name file, line and value."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simulator.arrays import Floats
from simulator.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_MOST_NAMES = 6
_MOST_LETTERS = 40


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> InputError:
    """What to say of a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: no such file")
    return InputError(f"{path}: cannot be read ({error.strerror or error})")


def unpack(path: Path, content: bytes) -> bytes:
    """The content, decompressed where the file's name ends in ``.gz``.

    Raises:
        InputError: if it is not a complete gzip file.
    """
    try:
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        msg = f"{path}: not a complete gzip file ({error})"
        raise InputError(msg) from None


def header_names(content: bytes) -> list[str]:
    """The names in the first line, as far as it is text."""
    line = content[: 1 << 16].partition(b"\n")[0].decode("utf-8-sig", errors="replace")
    return [name.strip().strip('"').strip() for name in line.split(",")]


def parse_csv(path: Path, content: bytes, columns: tuple[str, ...]) -> pd.DataFrame:
    """Every value as text.

    Args:
        path: for errors.
        content: of the file, unpacked.
        columns: what it has to have, once each.

    Raises:
        InputError: if it is no such table.
    """
    import io

    import pandas as pd

    expected = f"a trace is a CSV with the columns {','.join(columns)}"
    if not content.strip():
        msg = f"{path}: the file is empty; {expected}"
        raise InputError(msg)
    try:
        text = content.decode("utf-8-sig")
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, skip_blank_lines=False)
    except UnicodeDecodeError:
        msg = f"{path}: not a text file; {expected}"
        raise InputError(msg) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        msg = f"{path}: not a CSV file ({' '.join(str(error).split())})"
        raise InputError(msg) from None
    table.columns = [str(column).strip() for column in table.columns]
    for column in columns:
        require_column(f"{path}:1", list(table.columns), column)
    if not isinstance(table.index, pd.RangeIndex):
        msg = f"{path}:2: has more values than the header has columns"
        raise InputError(msg)
    return table


def require_column(place: str, names: list[str], column: str) -> None:
    """Check that a table has a column, once.

    Raises:
        InputError: with the place and the names that are there.
    """
    if names.count(column) != 1:
        found = ", ".join(repr(name[:_MOST_LETTERS]) for name in names[:_MOST_NAMES])
        msg = f"{place}: needs one column {column!r}; the header has {found}"
        raise InputError(msg)


def numbers(path: Path, table: pd.DataFrame, column: str, *, gaps: bool = False) -> Floats:
    """A column of a table of text as finite numbers: float64 ``(rows,)``.

    Args:
        gaps: take what is empty or ``NaN`` for NaN.

    Raises:
        InputError: naming the line and value that is none.
    """
    import pandas as pd

    text_of = table[column].str.strip()
    values = pd.to_numeric(text_of, errors="coerce").to_numpy(dtype=np.float64)
    missing = text_of.str.lower().isin(("", "nan")).to_numpy() & gaps
    wrong = np.flatnonzero(~np.isfinite(values) & ~missing)
    if wrong.size:
        row = int(wrong[0])
        text = str(table[column].iloc[row])[:_MOST_LETTERS]
        msg = f"{path}:{row + 2}: {column} is {text!r}; must be a finite number"
        raise InputError(msg)
    exact: Floats = (
        text_of.mask(missing, "nan").to_numpy(dtype=object).astype(np.float64)
    )  # pandas rounds the last digits
    return exact
