"""Fit the workload models that ship with setpoint: ``python -m experiments.fit_models TRACES``.

TRACES is a folder of traces with a MANIFEST.json; the fitted parameters are written to
simulator/models. The same traces give the same files.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from experiments.trace_models import model_text
from simulator import workload
from simulator.fitted import FittedModel
from simulator.fitting import fit_model
from simulator.trace import Trace, read_trace

_DAY_SECONDS = 86_400.0
_NAB = "Numenta Anomaly Benchmark (A. Lavin and S. Ahmad, 2015)"
_NAB_TERMS = "MIT (github.com/numenta/NAB)"
_AZURE = "Azure Functions Trace 2019, M. Shahrad et al., Serverless in the Wild, 2020; one function"
MODELS = Path(workload.__file__).parent / "models"


@dataclass(frozen=True, slots=True)
class Shipped:
    """A trace whose model ships."""

    file: str
    source: str
    terms: str
    first_weekday: int | None = None


SHIPPED = {
    "autothrottle": Shipped(
        "autothrottle_diurnal.csv",
        "Autothrottle, Z. Wang et al., 2024; derived by its authors from public traces, requests a second",
        "MIT (github.com/microsoft/autothrottle)",
    ),
    "aws_elb": Shipped(
        "aws_elb_week1.csv", f"requests at an AWS load balancer, April 2014; {_NAB}", _NAB_TERMS, 3
    ),
    "azure_functions": Shipped("azure_fn_2aec780b_days1_7.csv", _AZURE, "CC-BY-4.0", 0),
    "azure_functions_bursty": Shipped("azure_fn_38589360_days1_7.csv", _AZURE, "CC-BY-4.0", 0),
    "azure_llm": Shipped(
        "azure_llm2023_code_10s.csv",
        "Azure LLM inference trace 2023 (code), P. Patel et al., Splitwise, 2024",
        "CC-BY-4.0",
    ),
    "ecommerce": Shipped(
        "ms_ecommerce_api_nov_mar.csv",
        "Microsoft Cloud Monitoring Dataset; requests of an e-commerce API, 2017 to 2018",
        "MIT (github.com/microsoft/cloud-monitoring-dataset)",
        2,
    ),
    "mongo": Shipped(
        "ms_mongo01_first5d.csv",
        "Microsoft Cloud Monitoring Dataset; queries of a MongoDB cluster, 2018",
        "MIT (github.com/microsoft/cloud-monitoring-dataset)",
        2,
    ),
    "nyc_taxi": Shipped(
        "nyc_taxi_jul_oct2014.csv",
        f"taxi passengers in New York, July to October 2014; {_NAB}",
        _NAB_TERMS,
        1,
    ),
    "servegen": Shipped(
        "servegen_m_small_week1.csv",
        "ServeGen, Y. Xiang et al., 2025; requests to a small language model at Alibaba Cloud",
        "Apache-2.0",
    ),
    "tweets": Shipped(
        "tweets_amzn_first33d.csv",
        f"tweets that name a company, February to April 2015; {_NAB}",
        _NAB_TERMS,
        4,
    ),
    "world_cup": Shipped(
        "wc98_to_jun20.csv.gz",
        "1998 World Cup web site, M. Arlitt and T. Jin, Internet Traffic Archive; per-minute counts by N. Mahmoudi",
        "may be used and redistributed freely with its copyright notice: (c) 1997-1999 Hewlett-Packard",
        4,
    ),
}


def fit_nasa(traces: Path) -> workload.WorkloadModel:
    """NASA Kennedy Space Center's web server, its first four weeks of July 1995.

    Its form is the first one there was; the tasks that ship draw from it, so it stays as it is.
    """
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


def fit_shipped(name: str, traces: Path) -> FittedModel:
    """The model of one of SHIPPED."""
    about = SHIPPED[name]
    trace = read_trace(traces / "request_rate" / about.file)
    return fit_model(
        trace,
        name=name,
        source=f"{about.source} ({about.file})",
        terms=about.terms,
        first_weekday=about.first_weekday,
    )


def main() -> None:
    """Fit and write every model."""
    traces = Path(sys.argv[1])
    nasa = yaml.safe_dump(fit_nasa(traces).model_dump(mode="json"), sort_keys=False, width=110)
    (MODELS / "nasa.yaml").write_text(nasa, encoding="utf-8")
    for name in SHIPPED:
        (MODELS / f"{name}.yaml").write_text(model_text(fit_shipped(name, traces)), encoding="utf-8")


if __name__ == "__main__":
    main()
