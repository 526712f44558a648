"""Training: an agent, a task, a trace, and a Bundle that is good at every moment."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from agents.bundle import Bundle
from agents.learn.batch_vec_env import BatchVecEnv
from agents.learn.checkpoint import Checkpoint, checkpoint_of, load_checkpoint
from agents.learn.export import export_actor
from agents.learn.ppo import PpoSettings, make_ppo
from agents.learn.vec_env import WORST_STEP_REWARD, make_vec_env
from envs.task import Task
from simulator.errors import InputError
from simulator.flow.support import check_supported
from simulator.trace import Trace

AGENTS = ("ppo",)
BATCH, REQUEST = "batch", "request"
"""The engines that are trained on."""
STEPS = {BATCH: 3_000_000, REQUEST: 100_000}
"""What is enough on each."""
_LEARNING_THREADS = 2
"""However many cores there are, since sums differ with it; small networks use no more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train, on what, for how long.

    Attributes:
        trace: episodes are taken from it; None draws them from the task's workload model.
        steps: environment steps, rounded up to whole rollouts.
        engine: ``BATCH`` or ``REQUEST``.
        processes: on the request engine one process an environment; off where a debugger or a test wants one process.
    """

    task: Task
    trace: Trace | None
    steps: int
    seed: int
    settings: PpoSettings = field(default_factory=PpoSettings)
    engine: str = REQUEST
    processes: bool = True

    @property
    def asked(self) -> dict[str, Any]:
        """What has to be the same for a stopped training to be gone on with."""
        return {
            "agent": AGENTS[0],
            "engine": self.engine,
            "task": self.task.name,
            "task_sha256": hashlib.sha256(self.task.model_dump_json().encode()).hexdigest(),
            **self.source,
            "trace_counts_sha256": _digest(self.trace),
            "steps": self.steps,
            "seed": self.seed,
            "settings": self.settings.model_dump(mode="json"),
            "setpoint": metadata.version("setpoint"),
        }

    @property
    def source(self) -> dict[str, Any]:
        """Where episodes come from."""
        trace = self.trace
        return {
            "trace": trace.name if trace is not None else f"model {self.task.scenario.workload.model}",
            "trace_sha256": trace.sha256 if trace is not None else "",
            "trace_start_seconds": trace.start_seconds if trace is not None else 0.0,
            "trace_duration_seconds": trace.duration_seconds if trace is not None else 0.0,
        }


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
    """Writes the Bundle and the checkpoint after every update and reports progress."""

    def __init__(
        self, plan: Plan, out: Path, report: Callable[[Progress], None], begun: Checkpoint | None
    ) -> None:
        super().__init__()
        self._plan = plan
        self._out = out
        self._report = report
        self._kept_steps = begun.steps if begun else 0
        self._resumed = (*begun.resumed, begun.steps) if begun else ()
        self.interrupted = False

    def keep(self) -> Bundle:
        """Write the Bundle as it is now and report.

        Raises:
            InputError: if training has diverged; the file holds the last good one.
        """
        if not is_finite(self.model):
            raise InputError(_diverged(self._out, self.num_timesteps))
        model: PPO = self.model  # type: ignore[assignment]
        bundle = save(model, self._plan, self._out, self._resumed)
        Checkpoint.of(model, self._plan.asked, self._resumed).save(checkpoint_of(self._out))
        self._kept_steps = model.num_timesteps
        self._report(self._progress())
        return bundle

    def _on_rollout_start(self) -> None:
        if self.num_timesteps > self._kept_steps:
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


def check_batch(task: Task, trace: Trace | None) -> None:
    """Raises InputError for what the batch engine does not model."""
    check_supported(task.scenario)
    if trace is not None and trace.times_seconds is not None:
        msg = "the batch engine does not model: the exact times of a request log. The request engine does"
        raise InputError(msg)


def check_trainable(task: Task) -> None:
    """Raises InputError for a task that no agent here learns."""
    services = task.interface.services
    if len(services) > 1:
        msg = (
            f"task {task.name} has {len(services)} services ({', '.join(services)}); "
            "training needs a task of one service"
        )
        raise InputError(msg)


def find_checkpoint(plan: Plan, out: Path) -> Checkpoint | None:
    """Where a training of this plan was stopped; None if it was not.

    Raises:
        InputError: if the checkpoint beside ``out`` is damaged or of another plan.
    """
    return load_checkpoint(checkpoint_of(out), plan.asked)


def train(
    plan: Plan, out: Path, report: Callable[[Progress], None], begun: Checkpoint | None = None
) -> Bundle:
    """Train and write the Bundle and a checkpoint after every update; the last Bundle is returned.

    The checkpoint is removed at the end. Ctrl-C ends training after the step under way; the files hold what is good.

    Args:
        begun: go on from here, with other episodes than so far; by default begin anew.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
    """
    check_trainable(plan.task)
    env = _make_env(plan)
    try:
        model = make_ppo(env, plan.settings, plan.task.actions.hold, _seed(plan, begun))
        if begun:
            begun.restore(model)
        saver = _Saver(plan, out, report, begun)
        with _interrupts(saver):
            left = plan.steps - model.num_timesteps
            model.learn(left, callback=saver, log_interval=10**9, reset_num_timesteps=False)
        if saver.interrupted:
            raise KeyboardInterrupt
        bundle = saver.keep()
        checkpoint_of(out).unlink(missing_ok=True)
        return bundle
    finally:
        env.close()


def _make_env(plan: Plan) -> VecEnv:
    """The environments; of processes torch gets the cores that they leave, of clusters it takes turns with them."""
    if plan.engine == BATCH:
        check_batch(plan.task, plan.trace)
        torch.set_num_threads(_LEARNING_THREADS)
        return BatchVecEnv(plan.task, plan.trace, plan.settings.environments)
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    return make_vec_env(plan.task, plan.trace, plan.settings.environments, processes=plan.processes)


def _seed(plan: Plan, begun: Checkpoint | None) -> int:
    """The plan's own, or one of new episodes."""
    if begun is None:
        return plan.seed
    return int(np.random.SeedSequence([plan.seed, begun.steps]).generate_state(1)[0])


def _digest(trace: Trace | None) -> str:
    """SHA-256 of a trace's counts, in hexadecimal."""
    if trace is None:
        return ""
    counts = np.ascontiguousarray(trace.requests).tobytes()
    return hashlib.sha256(counts + str(trace.bin_seconds).encode()).hexdigest()


def is_finite(model: BaseAlgorithm) -> bool:
    """Whether every weight is a number."""
    return all(bool(torch.isfinite(weights).all()) for weights in model.policy.parameters())


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


def save(model: PPO, plan: Plan, out: Path, resumed: tuple[int, ...] = ()) -> Bundle:
    """Write what the model is now as a Bundle."""
    provenance = {
        "agent": AGENTS[0],
        "engine": plan.engine,
        "task": plan.task.name,
        "steps": model.num_timesteps,
        "resumed": list(resumed),
        "seed": plan.seed,
        **plan.source,
        "settings": plan.settings.model_dump(mode="json"),
        "versions": {name: metadata.version(name) for name in ("setpoint", "torch", "stable-baselines3")},
    }
    bundle = Bundle.of(export_actor(model.policy), plan.task.interface, provenance)
    bundle.save(out)
    return bundle
