"""The control loop with core dependencies alone: the HPA and a Bundle on the fake Plant."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from fakes import FakeClock, FakePlant

from agents.policy import Context
from agents.registry import make
from controllers.loop import Loop, Record
from envs.guard import Guard, GuardSettings

ROOT = Path(__file__).parent
FORBIDDEN = {"simpy", "numba", "pandas", "mlflow", "torch", "stable_baselines3", "gymnasium"}


def main() -> None:
    context = Context(("web",), np.array([2]), np.array([100]))
    for spec in ("hpa:target=0.5", str(ROOT / "data" / "tiny.bundle")):
        plant = FakePlant(replicas=4, cpu=1.0, rate=2000.0)
        records: list[Record] = []
        guard = Guard(GuardSettings(min_replicas=(2,), max_replicas=(100,)))
        Loop(plant, make(spec, context), guard, FakeClock(plant, 8), records.append).run()
        if len(records) != 8 or not plant.applied:
            sys.exit(f"{spec}: {len(records)} records, applied {plant.applied}")
    loaded = FORBIDDEN & {name.partition(".")[0] for name in sys.modules}
    if loaded:
        sys.exit(f"loaded: {sorted(loaded)}")
    print("hpa and a bundle scaled the fake plant")


if __name__ == "__main__":
    main()
