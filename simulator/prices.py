"""What things cost: a dated table of instance types, and pods that are billed by themselves."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources

from pydantic import Field

from simulator.settings import Settings

SECONDS_PER_HOUR = 3600.0


class Prices(Settings):
    """What a pod costs where there are no nodes; AWS Fargate takes 0.04048 and 0.004445 (Linux, x86, us-east-1)."""

    usd_per_vcpu_hour: float = Field(ge=0, le=1000, description="From a pod's creation until it is gone.")
    usd_per_gib_hour: float = Field(
        default=0.0, ge=0, le=1000, description="The same for the memory that it requests."
    )
    minimum_billed_seconds: float = Field(
        default=0.0, ge=0, le=86_400, description="A pod costs at least so long; AWS Fargate's is 60 s."
    )


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A machine that can be rented.

    Attributes:
        usd_per_hour: on demand, AWS us-east-1; the table's head says when and from where.
    """

    name: str
    usd_per_hour: float
    vcpu: float
    memory_gib: float
    gpus: int


@cache
def instance_types() -> dict[str, InstanceType]:
    """All instance types of the price table, by name."""
    text = (resources.files("simulator") / "instance_types.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {
        row["instance_type"]: InstanceType(
            row["instance_type"],
            float(row["usd_per_hour"]),
            float(row["vcpu"]),
            float(row["memory_gib"]),
            int(row["gpus"]),
        )
        for row in rows
    }


def find_instance_type(name: str) -> InstanceType:
    """An instance type by name.

    Raises:
        ValueError: if the table has none of that name.
    """
    found = instance_types().get(name)
    if found is None:
        close = get_close_matches(name, instance_types(), n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        msg = f"instance type {name!r} is not in the price table{hint} (or give vcpu, memory_gib and usd_per_hour)"
        raise ValueError(msg)
    return found
