"""Tests that may be skipped where CI=true: node id, with or without its parameters, and the reason."""

_TRACES = "the real traces are not part of the repository"
ALLOWED_SKIPS: dict[str, str] = {
    "tests/simulator/test_trace.py::test_every_published_trace_reads": _TRACES,
    "tests/simulator/test_workload.py::test_what_ships_is_what_the_fit_gives": _TRACES,
}
