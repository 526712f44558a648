"""Fit the workload models that ship with setpoint: ``python -m experiments.fit_models TRACES``.

TRACES is a folder of traces with a MANIFEST.json; the fitted parameters are written to
simulator/models. The same traces give the same files.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from simulator import workload
from simulator.trace import Trace, read_trace

_DAY_SECONDS = 86_400.0
MODELS = Path(workload.__file__).parent / "models"


def fit_nasa(traces: Path) -> workload.WorkloadModel:
    """NASA Kennedy Space Center's web server, its first four weeks of July 1995."""
    trace = read_trace(traces / "request_rate" / "nasa_jul1995.csv.gz")
    whole_days = trace.duration_seconds // _DAY_SECONDS * _DAY_SECONDS
    part: Trace = trace.slice(0.0, whole_days)
    return workload.fit_workload(
        part,
        name="nasa",
        source="NASA-HTTP, July 1995, J. Dumoulin, M. Arlitt and C. Williamson, Internet Traffic Archive "
        "(may be freely redistributed); per-minute request counts",
        first_weekday=5,
    )


def main() -> None:
    """Fit and write every model."""
    model = fit_nasa(Path(sys.argv[1]))
    text = yaml.safe_dump(model.model_dump(mode="json"), sort_keys=False, width=110)
    (MODELS / f"{model.name}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
