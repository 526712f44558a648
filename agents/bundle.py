"""Bundle: a learned policy in one file: ONNX actor, Interface, fingerprint and provenance.

The file is a zip archive of ``bundle.json`` and ``actor.onnx``. Nothing in it is executed but the
ONNX graph; no pickle is ever loaded.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.policy import Context, Mask
from envs.actions import metrics_missing
from envs.interface import Interface, fingerprint_of
from simulator.errors import InputError
from simulator.files import whole_file
from simulator.plant import Desired, Snapshot

FORMAT = 1
SUFFIX = ".bundle"
_MANIFEST, _ACTOR = "bundle.json", "actor.onnx"
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A learned policy's file, read or to be written.

    Attributes:
        actor: an ONNX model from ``observation`` float32 ``(N, F)`` to ``logits`` float32 ``(N, A)``.
        facts: what the fingerprint covers of the Interface it was trained for.
        provenance: how it was made: strings and numbers, for people.
    """

    actor: bytes
    interface: Interface
    facts: Mapping[str, object]
    provenance: Mapping[str, Any]

    @staticmethod
    def of(actor: bytes, interface: Interface, provenance: Mapping[str, Any]) -> Bundle:
        """A new Bundle."""
        facts = json.loads(json.dumps(interface.facts()))
        return Bundle(actor, interface, facts, provenance)

    @property
    def actor_digest(self) -> str:
        """SHA-256 of the actor, in hexadecimal."""
        return hashlib.sha256(self.actor).hexdigest()

    @property
    def fingerprint(self) -> str:
        """Changes whenever anything the policy depends on does, but for min and max."""
        return fingerprint_of(dict(self.facts), self.actor_digest)

    def save(self, path: str | Path) -> None:
        """Write the file; the same content gives the same bytes, and a failure leaves the old file."""
        manifest = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "interface": self.interface.model_dump(mode="json"),
            "facts": dict(self.facts),
            "provenance": dict(self.provenance),
        }
        with whole_file(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            content = json.dumps(manifest, indent=1, sort_keys=True)
            archive.writestr(zipfile.ZipInfo(_MANIFEST, _ZIP_EPOCH), content)
            archive.writestr(zipfile.ZipInfo(_ACTOR, _ZIP_EPOCH), self.actor)


def load_bundle(path: str | Path) -> Bundle:
    """Read a Bundle and check that it is whole.

    Raises:
        InputError: if the file is missing, damaged, of another format, or not what its
            fingerprint says.
    """
    manifest, actor = _read(Path(path))
    if manifest.get("format") != FORMAT:
        msg = f"{path}: bundle format {manifest.get('format')!r}; this version of setpoint reads format {FORMAT}"
        raise InputError(msg)
    try:
        interface = Interface.model_validate(manifest["interface"])
        bundle = Bundle(actor, interface, manifest["facts"], manifest["provenance"])
        whole = bundle.fingerprint == manifest["fingerprint"]
        mismatch = interface.mismatch(dict(bundle.facts))
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path}: damaged: {' '.join(str(error).split())}"
        raise InputError(msg) from None
    if not whole:
        msg = f"{path}: damaged or changed: its content does not match its fingerprint"
        raise InputError(msg)
    if mismatch:
        msg = f"{path}: changed, or made by another version of setpoint: {mismatch}"
        raise InputError(msg)
    return bundle


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read(_MANIFEST))
            actor = archive.read(_ACTOR)
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise InputError(msg) from None
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, RuntimeError, zlib.error) as error:
        msg = f"{path}: not a whole bundle ({error}); train it again or copy it again"
        raise InputError(msg) from None
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror or error})"
        raise InputError(msg) from None
    if not isinstance(manifest, dict):
        msg = f"{path}: not a whole bundle ({_MANIFEST} holds no object)"
        raise InputError(msg)
    return manifest, actor


class LearnedPolicy:
    """A Bundle at work: Observer, actor, ActionMap.

    Missing metrics: the ActionMap holds while CPU or rate is NaN; the Observer hears of every Snapshot
    all the same. Latency is NaN whenever nothing was served; the actor is told so by a flag. It holds,
    too, where the actor's output is not finite.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._interface = bundle.interface
        self._observer = bundle.interface.new_observer()
        self._session = _session(bundle.actor)
        self._actions = bundle.interface.actions.count

    @property
    def period_seconds(self) -> float:
        """The control period it was trained for."""
        return self._interface.period_seconds

    def reset(self, mask: Mask | None = None) -> None:
        """Forget what was seen."""
        self._observer.reset(mask)

    def logits(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """The actor's output: float32 ``(..., S, A)`` for observations ``(..., F)``."""
        rows = observation.reshape(-1, observation.shape[-1])
        (found,) = self._session.run(None, {"observation": rows})
        return np.asarray(found, dtype=np.float32).reshape(*observation.shape[:-1], -1, self._actions)

    def decide(self, snapshot: Snapshot) -> Desired:
        """The most likely action's replicas."""
        observation = self._observer.observe(snapshot)
        logits = self.logits(observation)
        usable = np.isfinite(logits).all(axis=-1)
        actions = np.where(usable, logits.argmax(axis=-1), self._interface.actions.hold)
        wish = self._interface.actions.desired(actions, snapshot)
        if snapshot.wanted.ndim > 1:
            return wish
        return Desired(wish.replicas, self._explain(snapshot, actions))

    def _explain(self, snapshot: Snapshot, actions: NDArray[np.int64]) -> str:
        if metrics_missing(snapshot).any():
            return "cpu or rate is missing: hold"
        changes = ", ".join(self._interface.actions.describe(int(action)) for action in actions)
        return f"cpu {snapshot.cpu.value.mean():.0%}, rate {snapshot.rate.value.sum():.4g}/s: {changes}"


def make_learned(path: str | Path, context: Context) -> LearnedPolicy:
    """Load a Bundle for a task.

    Raises:
        InputError: if the Bundle's Interface differs from the task's in anything but bounds, or its
            actor does not fit its Interface.
    """
    bundle = load_bundle(path)
    if context.interface is not None:
        mismatch = context.interface.mismatch(dict(bundle.facts))
        if mismatch:
            msg = f"{path}: trained for another interface: {mismatch}"
            raise InputError(msg)
    try:
        policy = LearnedPolicy(bundle)
        logits = policy.logits(np.zeros(policy._observer.size, dtype=np.float32))  # noqa: SLF001 - its maker
    except Exception as error:  # noqa: BLE001 - onnxruntime has exceptions of its own for each fault
        msg = f"{path}: the actor cannot be run ({str(error).splitlines()[0]})"
        raise InputError(msg) from None
    if len(logits) != len(bundle.interface.services):
        services = len(bundle.interface.services)
        msg = f"{path}: the actor decides for {len(logits)} services; its interface has {services}"
        raise InputError(msg)
    if not np.isfinite(logits).all():
        msg = f"{path}: the actor gives {logits.min()}, as after a training that diverged; train it again"
        raise InputError(msg)
    return policy


def _session(actor: bytes) -> Any:  # noqa: ANN401 - onnxruntime has no types
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(actor, options, providers=["CPUExecutionProvider"])
