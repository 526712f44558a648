"""Tests that may be skipped where CI=true: node id, with or without its parameters, and the reason."""

_TRACES = "the real traces are not part of the repository"
_PROPHET = "prophet is an extra of its own, which make setup does not install"
_FORECASTERS = "tests/agents/forecast/test_contract.py::test_"
ALLOWED_SKIPS: dict[str, str] = {
    f"{_FORECASTERS}quantiles_are_ascending_and_no_rate_is_negative[prophet]": _PROPHET,
    f"{_FORECASTERS}another_future_changes_no_forecast_made_before_it[prophet]": _PROPHET,
    f"{_FORECASTERS}it_follows_days_that_look_alike[prophet]": _PROPHET,
    f"{_FORECASTERS}gaps_are_closed_and_nothing_is_made_of_them[prophet]": _PROPHET,
    f"{_FORECASTERS}with_little_history_a_simpler_one_works_and_says_so[prophet]": _PROPHET,
    f"{_FORECASTERS}a_horizon_beyond_the_grid_is_refused[0-prophet]": _PROPHET,
    f"{_FORECASTERS}a_horizon_beyond_the_grid_is_refused[4-prophet]": _PROPHET,
    f"{_FORECASTERS}again_it_gives_the_same_bytes[prophet]": _PROPHET,
    "tests/experiments/test_forecast_targets.py::test_on_seasonal_traces_it_reaches_the_targets": _TRACES,
    "tests/simulator/test_fitting.py::test_a_forecaster_learns_from_look_alikes_as_from_the_past": _TRACES,
    "tests/simulator/test_fitting.py::test_look_alikes_of_every_published_trace_are_alike": _TRACES,
    "tests/simulator/test_fitting.py::test_look_alikes_of_what_ships_are_alike": _TRACES,
    "tests/simulator/test_fitting.py::test_what_ships_is_what_the_fit_gives": _TRACES,
    "tests/simulator/test_trace.py::test_every_published_trace_reads": _TRACES,
    "tests/simulator/test_workload.py::test_what_ships_is_what_the_fit_gives": _TRACES,
}
