"""Tests that may be skipped where CI=true: node id, with or without its parameters, and the reason."""

_TRACES = "the real traces are not part of the repository"
ALLOWED_SKIPS: dict[str, str] = {
    "tests/simulator/test_fitting.py::test_a_forecaster_learns_from_look_alikes_as_from_the_past": _TRACES,
    "tests/simulator/test_fitting.py::test_look_alikes_of_every_published_trace_are_alike": _TRACES,
    "tests/simulator/test_fitting.py::test_look_alikes_of_what_ships_are_alike": _TRACES,
    "tests/simulator/test_fitting.py::test_what_ships_is_what_the_fit_gives": _TRACES,
    "tests/simulator/test_trace.py::test_every_published_trace_reads": _TRACES,
    "tests/simulator/test_workload.py::test_what_ships_is_what_the_fit_gives": _TRACES,
}
