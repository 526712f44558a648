"""From a configuration to a running controller: everything is checked before the first decision."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

import numpy as np

from agents.bundle import LearnedPolicy
from agents.policy import Context, Policy
from agents.registry import make
from controllers.clock import Clock, WallClock
from controllers.config import ControlConfig
from controllers.loop import Loop, Record
from controllers.plants.kubernetes import Deployment, MetricSource, NoSource, connect
from controllers.sources.prometheus import Prometheus
from controllers.telemetry import Journal, Server, Telemetry
from envs.guard import Guard, GuardSettings
from simulator.errors import InputError

LOG = logging.getLogger("setpoint.controller")


@dataclass(frozen=True, slots=True)
class Controller:
    """A checked configuration, ready to run."""

    config: ControlConfig
    plant: Deployment
    policy: Policy
    guard: Guard

    def run(self, clock: Clock, journal: TextIO) -> None:
        """Decide until the clock stops.

        Raises:
            PlantGone: if the Deployment is deleted.
            InputError: if the telemetry's address cannot be listened on.
        """
        telemetry = Telemetry((self.config.plant.deployment,), self.policy.period_seconds, clock.now_seconds)
        write = Journal(journal)

        def tell(record: Record) -> None:
            telemetry.observe(record)
            write(record)

        acting = not self.config.dry_run
        with self._serve(telemetry) as server:
            LOG.info(
                "%s %s every %g s within %s to %s replicas; /metrics and /healthz on port %d",
                "scaling" if acting else "watching (dry run)",
                self.plant,
                self.policy.period_seconds,
                self.config.min_replicas,
                self.config.max_replicas,
                server.port,
            )
            Loop(self.plant, self.policy, self.guard, clock, tell, acting=acting).run()
        LOG.info("stopped")

    @contextmanager
    def _serve(self, telemetry: Telemetry) -> Iterator[Server]:
        listen = self.config.listen
        try:
            server = Server(telemetry, listen.host, listen.port)
        except OSError as error:
            msg = f"listen: {listen.host}:{listen.port} cannot be listened on ({error.strerror or error})"
            raise InputError(msg) from None
        with server:
            yield server


def assemble(config: ControlConfig, clock: Clock) -> Controller:
    """Make and check every part; nothing has been changed when it returns.

    Raises:
        InputError: if the policy, its bounds, a query or the way to the API server is wrong.
        PlantGone: if there is no such Deployment.
        OSError: if the API server does not answer or refuses.
    """
    policy, guard = _decider(config)
    source: MetricSource = NoSource()
    if config.prometheus is not None:
        source = prometheus = Prometheus(config.prometheus)
        prometheus.check()
    plant = Deployment(config.plant, connect(config.plant), source, clock.now_seconds)
    plant.snapshot()
    return Controller(config, plant, policy, guard)


def run_controller(config: ControlConfig, journal: TextIO) -> None:
    """Run until SIGTERM or Ctrl-C.

    Raises:
        InputError, PlantGone, OSError: as ``assemble`` and ``Controller.run``.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    clock = WallClock()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: clock.stop())
    assemble(config, clock).run(clock, journal)


def _decider(config: ControlConfig) -> tuple[Policy, Guard]:
    """The policy and the guard: a bundle brings its own guard, within tighter bounds at most."""
    low, high = np.array([config.min_replicas]), np.array([config.max_replicas])
    policy = make(config.policy, Context((config.plant.deployment,), low, high))
    if isinstance(policy, LearnedPolicy):
        return policy, Guard(_bundle_guard(config, policy))
    if config.fingerprint is not None:
        msg = f"fingerprint: is {config.fingerprint}, but policy {config.policy} is no bundle; leave it out"
        raise InputError(msg)
    bounds = {"min_replicas": (config.min_replicas,), "max_replicas": (config.max_replicas,)}
    return policy, Guard(GuardSettings.model_validate(bounds | config.guard.model_dump()))


def _bundle_guard(config: ControlConfig, policy: LearnedPolicy) -> GuardSettings:
    bundle = policy.bundle
    if config.fingerprint is not None and not bundle.fingerprint.startswith(config.fingerprint):
        msg = f"fingerprint: {config.policy} has {bundle.fingerprint}, not {config.fingerprint}"
        raise InputError(msg)
    if config.prometheus is None:
        msg = f"prometheus: is missing; {config.policy} decides by the request rate, which comes from there"
        raise InputError(msg)
    if config.guard.model_fields_set:
        fields = ", ".join(sorted(config.guard.model_fields_set))
        msg = f"guard: {fields} cannot be set here: {config.policy} was trained with a guard of its own"
        raise InputError(msg)
    low, high = np.array([config.min_replicas]), np.array([config.max_replicas])
    return bundle.interface.tightened(low, high).guard
