"""How the data plane's code is compiled.

Its tables outlive every call and nothing is allocated, so numba's reference counting is off: it
costs many times what the work does. Small functions are inlined where they are used. What Python
calls is kept compiled on disk, for as long as no file of the data plane changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import numba

SOURCES = (
    "kernel/*.py",
    "calls/*.py",
    "dispatch/*.py",
    "laws/*.py",
    "compiled.py",
    "fcfs.py",
    "flow/*.py",
    "latency.py",
    "randomness.py",
    "sharing.py",
    "slots.py",
)
"""All that compiled code is made of, relative to this folder."""

inlined: Any = numba.njit(nogil=True, forceinline=True, _nrt=False)  # type: ignore[call-overload]
"""A part of the kernel."""

called: Any = numba.njit(nogil=True, _nrt=False)  # type: ignore[call-overload]
"""A part that is large, or seldom used."""


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """What Python calls: compiled once.

    numba looks at the one file of a cached function, but not at what that was compiled with.
    """
    compile_ = numba.njit(cache=True, nogil=True, _nrt=False)  # type: ignore[call-overload]
    compiled: Any = compile_(function)
    if not hasattr(compiled, "_cache"):
        msg = "NUMBA_DISABLE_JIT is set; the data plane runs compiled only"
        raise RuntimeError(msg)
    compiled._cache._cache_file._source_stamp = sources_digest()  # noqa: SLF001 - there is no other way in
    return cast("Callable[..., Any]", compiled)


@cache
def sources_digest() -> str:
    """SHA-256 of the data plane's source files, in hexadecimal."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for pattern in SOURCES:
        for path in sorted(folder.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()
