"""Which of the package's extras brings a library."""

from __future__ import annotations

_EXTRAS = {
    "simpy": "sim",
    "numba": "sim",
    "scipy": "sim",
    "pandas": "sim",
    "pyarrow": "sim",
    "gymnasium": "sim",
    "torch": "train",
    "stable_baselines3": "train",
    "onnx": "train",
    "mlflow": "train",
    "plotly": "report",
    "jinja2": "report",
    "markupsafe": "report",
    "matplotlib": "report",
    "optuna": "calibrate",
    "sklearn": "forecast",
    "statsforecast": "forecast",
    "prophet": "prophet",
}


def how_to_install(module: str) -> str | None:
    """The command that installs a library by the name it is imported by; None where no extra brings it."""
    extra = _EXTRAS.get(module)
    return None if extra is None else f"pip install 'setpoint[{extra}]'"
