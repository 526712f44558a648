"""Access logs of web servers: when each request came, from Common and Combined Log Format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Ints
from simulator.errors import InputError

MOST_BAD_SHARE = 0.01
"""A log with a larger share of bad lines is refused."""
_STAMP = rb"\d\d/[A-Za-z]{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"
_LINE = re.compile(
    rb"^\S+ \S+ [^\n\[]+ \[(" + _STAMP + rb')\] "[^\n]*?" (?:\d{3}|-) (?:\d+|-)(?: [^\n]*)?\r?$', re.MULTILINE
)
"""host, ident and user, time, request, status, bytes; whatever follows a space is not looked at."""
_STAMP_LETTERS = 26
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MOST_ZONE_MINUTES = 14 * 60
_LOOKED_AT = 1 << 16
_MOST_LETTERS = 80
_PLACES = {"day": (0, 2), "year": (7, 4), "hour": (12, 2), "minute": (15, 2), "second": (18, 2)}
_ZONE_SIGN, _ZONE_HOURS, _ZONE_MINUTES = 21, (22, 2), (24, 2)


@dataclass(frozen=True, slots=True)
class AccessLog:
    """What a log says of its requests' times, and of its lines.

    Attributes:
        epoch_seconds: int64 ``(R,)``; when each request came, seconds since 1970 in UTC, in the file's order.
        lines: how many there are, empty ones not counted.
        bad_lines: how many of them are no lines of an access log.
        first_bad: number and beginning of the first of these; None where there is none.
    """

    epoch_seconds: Ints
    lines: int
    bad_lines: int
    first_bad: tuple[int, str] | None


@dataclass(frozen=True, slots=True)
class Origin:
    """What a trace's counts do not say of the access log that they come from.

    Attributes:
        epoch_seconds: when the trace's time 0 was, seconds since 1970 in UTC.
        warning: what to say of bad lines, empty where there is none.
    """

    epoch_seconds: int
    warning: str


def is_access_log(content: bytes) -> bool:
    """Whether a line among the first ones is one of an access log."""
    return _LINE.search(content[:_LOOKED_AT]) is not None


def parse_access_log(path: Path, content: bytes) -> AccessLog:
    """Every request's time, from a log whose lines may be out of order and of different time zones.

    Raises:
        InputError: naming the first bad line, if more than 1 % of the lines are bad.
    """
    stamps = _LINE.findall(content)
    lines = _count_lines(content)
    epoch, valid = _parse_stamps(stamps)
    bad = lines - int(valid.sum())
    first = _first_bad(content, valid) if bad else None
    log = AccessLog(epoch[valid], lines, bad, first)
    if first and bad > MOST_BAD_SHARE * lines:
        msg = (
            f"{path}:{first[0]}: {first[1]!r} is no line of an access log; {bad} of {lines} lines are none, "
            f"{bad / lines:.2%}, and at most {MOST_BAD_SHARE:.0%} may be"
        )
        raise InputError(msg)
    return log


def origin_of(path: Path, log: AccessLog, start_epoch_seconds: int) -> Origin:
    """Where a trace that counts this log's requests from a moment on comes from."""
    warning = ""
    if log.first_bad:
        number, text = log.first_bad
        warning = (
            f"{path.name}: {log.bad_lines:,} of {log.lines:,} lines are no lines of an access log and are left out; "
            f"the first is line {number}: {text!r}"
        )
    return Origin(start_epoch_seconds, warning)


def _count_lines(content: bytes) -> int:
    """Lines that are not empty."""
    ends = content.count(b"\n") + (not content.endswith(b"\n") and bool(content))
    return ends - len(re.findall(rb"^[ \t\r]*$", content.removesuffix(b"\n"), re.MULTILINE))


def _first_bad(content: bytes, valid: NDArray[np.bool_]) -> tuple[int, str]:
    """Number and text of the first line that is neither empty nor one of an access log.

    Args:
        valid: bool ``(n,)``; whether the time of each line that has the form of one exists.
    """
    end = 0
    for found, exists in zip(_LINE.finditer(content), valid, strict=True):
        if content[end : found.start()].strip() or not exists:
            break
        end = found.end()
    begin = end + len(content[end:]) - len(content[end:].lstrip())
    line = content[begin:].partition(b"\n")[0]
    text = line.decode("utf-8", errors="replace").rstrip()
    return content.count(b"\n", 0, begin) + 1, text[:_MOST_LETTERS]


def _parse_stamps(stamps: list[bytes]) -> tuple[Ints, NDArray[np.bool_]]:
    """Seconds since 1970 in UTC, and which of the stamps are times that there are; both ``(n,)``."""
    letters = np.frombuffer(b"".join(stamps), dtype=np.uint8).reshape(-1, _STAMP_LETTERS)
    day, year, hour, minute, second = (_digits(letters, *_PLACES[name]) for name in _PLACES)
    month = _months(letters[:, 3:6])
    zone = 60 * _digits(letters, *_ZONE_HOURS) + _digits(letters, *_ZONE_MINUTES)
    first = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + np.maximum(month, 0)
    days_in_month = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
    valid = (month >= 0) & (day >= 1) & (day <= days_in_month) & (year >= 1)
    valid &= (hour < 24) & (minute < 60) & (second <= 60)  # 60 is a leap second
    valid &= (zone <= _MOST_ZONE_MINUTES) & (_digits(letters, *_ZONE_MINUTES) < 60)
    days = first.astype("datetime64[D]").astype(np.int64) + day - 1
    offset = np.where(letters[:, _ZONE_SIGN] == ord("-"), -zone, zone)
    return 86_400 * days + 3600 * hour + 60 * (minute - offset) + second, valid


def _digits(letters: NDArray[np.uint8], begin: int, count: int) -> Ints:
    value = np.zeros(len(letters), dtype=np.int64)
    for place in range(begin, begin + count):
        value = 10 * value + (letters[:, place] - ord("0"))
    return value


def _months(letters: NDArray[np.uint8]) -> Ints:
    """Each month's place in the year from 0; -1 where there is no such month."""
    lower = (letters | 0x20).astype(np.int64)
    code = (lower[:, 0] << 16) | (lower[:, 1] << 8) | lower[:, 2]
    known = {int.from_bytes(name.encode()): place for place, name in enumerate(_MONTHS)}
    codes = np.array(sorted(known))
    near = np.minimum(np.searchsorted(codes, code), len(codes) - 1)
    places = np.array([known[int(one)] for one in codes])
    return np.where(codes[near] == code, places[near], -1)
