"""Training: an agent, a task, a trace, and a Bundle that is good at every moment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from agents.bundle import Bundle
from agents.learn.export import export_actor
from agents.learn.ppo import PpoSettings, make_ppo
from agents.learn.vec_env import WORST_STEP_REWARD, make_vec_env
from envs.task import Task
from simulator.errors import InputError
from simulator.trace import Trace

AGENTS = ("ppo",)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train, on what, for how long.

    Attributes:
        trace: episodes are taken from it; None draws them from the task's workload model.
        steps: environment steps, rounded up to whole rollouts.
        processes: one process an environment; off where a debugger or a test wants one process.
    """

    task: Task
    trace: Trace | None
    steps: int
    seed: int
    settings: PpoSettings = field(default_factory=PpoSettings)
    processes: bool = True


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands after an update.

    Attributes:
        reward_per_step: mean over the last finished episodes, in the environment's own units (-1
            is a perfectly packed service at mean load), bounded as in training; NaN before the
            first episode ends.
        losses: what the agent logs of its update.
    """

    steps: int
    reward_per_step: float
    losses: Mapping[str, float]


class _Saver(BaseCallback):
    """Writes the Bundle after every update and reports progress."""

    def __init__(self, plan: Plan, out: Path, report: Callable[[Progress], None]) -> None:
        super().__init__()
        self._plan = plan
        self._out = out
        self._report = report
        self.interrupted = False

    def keep(self) -> Bundle:
        """Write the Bundle as it is now and report.

        Raises:
            InputError: if training has diverged; the file holds the last good one.
        """
        if not is_finite(self.model):
            raise InputError(_diverged(self._out, self.num_timesteps))
        bundle = save(self.model, self._plan, self._out, self.num_timesteps)  # type: ignore[arg-type]
        self._report(self._progress())
        return bundle

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            self.keep()

    def _on_step(self) -> bool:
        return not self.interrupted

    def _progress(self) -> Progress:
        finished = [episode["r"] / episode["l"] for episode in self.model.ep_info_buffer or ()]
        reward = float(np.mean(finished)) * -WORST_STEP_REWARD if finished else float("nan")
        losses = {
            name.removeprefix("train/"): float(value)
            for name, value in self.model.logger.name_to_value.items()
            if name.startswith("train/") and isinstance(value, int | float | np.number)
        }
        return Progress(self.num_timesteps, reward, losses)


def train(plan: Plan, out: Path, report: Callable[[Progress], None]) -> Bundle:
    """Train and write the Bundle after every update; the last one is returned.

    Ctrl-C ends training after the step under way; the file holds the last good Bundle.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
    """
    services = plan.task.interface.services
    if len(services) > 1:
        msg = (
            f"task {plan.task.name} has {len(services)} services ({', '.join(services)}); "
            "training needs a task of one service"
        )
        raise InputError(msg)
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    env = make_vec_env(plan.task, plan.trace, plan.settings.environments, processes=plan.processes)
    try:
        model = make_ppo(env, plan.settings, plan.task.actions.hold, plan.seed)
        saver = _Saver(plan, out, report)
        with _interrupts(saver):
            _learn(model, plan.steps, saver, out)
        if saver.interrupted:
            raise KeyboardInterrupt
        return saver.keep()
    finally:
        env.close()


def is_finite(model: BaseAlgorithm) -> bool:
    """Whether every weight is a number."""
    return all(bool(torch.isfinite(weights).all()) for weights in model.policy.parameters())


def _learn(model: PPO, steps: int, saver: _Saver, out: Path) -> None:
    try:
        model.learn(steps, callback=saver, log_interval=10**9)
    except ValueError:  # torch's own, of a distribution whose parameters are no numbers
        if is_finite(model):
            raise
        raise InputError(_diverged(out, model.num_timesteps)) from None


def _diverged(out: Path, steps: int) -> str:
    kept = f"{out} holds the last good one" if out.exists() else "nothing has been written"
    return f"training diverged by step {steps}: the network's weights are no numbers any more; {kept}"


@contextmanager
def _interrupts(saver: _Saver) -> Iterator[None]:
    """Ctrl-C asks the saver to stop, so that no worker is left in the middle of a message."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: object) -> None:
        saver.interrupted = True

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def save(model: PPO, plan: Plan, out: Path, steps: int) -> Bundle:
    """Write what the model is now as a Bundle."""
    provenance = {
        "agent": "ppo",
        "task": plan.task.name,
        "steps": steps,
        "seed": plan.seed,
        "trace": plan.trace.name if plan.trace is not None else f"model {plan.task.scenario.workload.model}",
        "trace_sha256": plan.trace.sha256 if plan.trace is not None else "",
        "trace_start_seconds": plan.trace.start_seconds if plan.trace is not None else 0.0,
        "trace_duration_seconds": plan.trace.duration_seconds if plan.trace is not None else 0.0,
        "settings": plan.settings.model_dump(mode="json"),
        "versions": {name: metadata.version(name) for name in ("setpoint", "torch", "stable-baselines3")},
    }
    bundle = Bundle.of(export_actor(model.policy), plan.task.interface, provenance)
    bundle.save(out)
    return bundle
