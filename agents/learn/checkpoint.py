"""Checkpoints: what a training that was stopped needs to go on; no policy is ever loaded from one."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from stable_baselines3 import PPO

from simulator.errors import InputError
from simulator.files import whole_file

SUFFIX = ".checkpoint"
_COUNTERS, _PARAMETERS = "checkpoint.json", "parameters.pt"
_ANEW = "--fresh begins anew"
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a training stood after an update.

    Attributes:
        asked: what was asked for; the same has to be asked for again.
        steps: environment steps that were learned from.
        updates: passes over rollouts.
        resumed: the steps at which it was gone on with before.
        parameters: of network and optimiser, by name.
    """

    asked: Mapping[str, Any]
    steps: int
    updates: int
    resumed: tuple[int, ...]
    parameters: Mapping[str, Any]

    @staticmethod
    def of(model: PPO, asked: Mapping[str, Any], resumed: tuple[int, ...]) -> Checkpoint:
        """What the model is now."""
        return Checkpoint(asked, model.num_timesteps, model._n_updates, resumed, model.get_parameters())  # noqa: SLF001 - has no other name

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        content = io.BytesIO()
        torch.save(dict(self.parameters), content)
        counters = {
            "asked": dict(self.asked),
            "steps": self.steps,
            "updates": self.updates,
            "resumed": self.resumed,
        }
        with whole_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
            archive.writestr(_COUNTERS, json.dumps(counters))
            archive.writestr(_PARAMETERS, content.getvalue())

    def restore(self, model: PPO) -> None:
        """Make the model what it was."""
        model.set_parameters(dict(self.parameters))
        model.num_timesteps = self.steps
        model._n_updates = self.updates  # noqa: SLF001 - as above


def checkpoint_of(out: Path) -> Path:
    """The checkpoint of the training that writes this Bundle."""
    return out.with_name(out.name + SUFFIX)


def load_checkpoint(path: Path, asked: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint to go on from; None where there is none.

    Raises:
        InputError: if it is damaged, or of a training that was asked for something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            counters = json.loads(archive.read(_COUNTERS))
            parameters = torch.load(io.BytesIO(archive.read(_PARAMETERS)), weights_only=True)
        found = Checkpoint(
            counters["asked"], counters["steps"], counters["updates"], tuple(counters["resumed"]), parameters
        )
    except FileNotFoundError:
        return None
    except _DAMAGE as error:
        msg = f"{path}: not a whole checkpoint ({' '.join(str(error).split())}); {_ANEW}"
        raise InputError(msg) from None
    there, here = dict(_flat(found.asked)), dict(_flat(json.loads(json.dumps(dict(asked)))))
    for name in here | there:
        if there.get(name) != here.get(name):
            msg = (
                f"{path}: of a training whose {name} is {there.get(name)}, not {here.get(name)}; "
                f"the command it began with goes on, {_ANEW}"
            )
            raise InputError(msg)
    return found


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
