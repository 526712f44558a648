"""The Bundle's file: what is written, and everything a damaged or foreign one is refused for."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fakes import FakePlant

from agents.bundle import FORMAT, Bundle, LearnedPolicy, load_bundle, make_learned
from agents.policy import Context
from envs.interface import Interface
from envs.task import load_task
from simulator.errors import InputError

TINY = Path(__file__).parent.parent / "data" / "tiny.bundle"
INTERFACE = load_task("web").interface


@pytest.fixture
def bundle() -> Bundle:
    return load_bundle(TINY)


def context_of(interface: Interface | None) -> Context:
    return Context(("web",), np.array([2]), np.array([200]), interface=interface)


def refusal(path: Path, interface: Interface | None = INTERFACE) -> str:
    with pytest.raises(InputError) as caught:
        make_learned(path, context_of(interface))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The tiny bundle with another manifest, whole as a zip file."""
    with zipfile.ZipFile(TINY) as archive:
        manifest, actor = json.loads(archive.read("bundle.json")), archive.read("actor.onnx")
    changed = change(manifest)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bundle.json", json.dumps(manifest if changed is None else changed))
        archive.writestr("actor.onnx", actor)
    return path


def test_the_committed_bundle_fits_the_web_task(bundle: Bundle) -> None:
    """If not: run tests/data/make_tiny_bundle.py."""
    assert bundle.interface == INTERFACE
    make_learned(TINY, context_of(INTERFACE))


def test_saving_what_was_loaded_gives_the_same_bytes(bundle: Bundle, tmp_path: Path) -> None:
    for name in ("one", "two"):
        bundle.save(tmp_path / "new folder" / name)
    assert (tmp_path / "new folder" / "one").read_bytes() == (tmp_path / "new folder" / "two").read_bytes()
    again = load_bundle(tmp_path / "new folder" / "one")
    assert again == bundle
    assert again.fingerprint == bundle.fingerprint == bundle.interface.fingerprint(bundle.actor_digest)
    assert sorted(path.name for path in (tmp_path / "new folder").iterdir()) == ["one", "two"]


def test_the_file_holds_a_manifest_and_an_actor_and_no_pickle() -> None:
    with zipfile.ZipFile(TINY) as archive:
        assert archive.namelist() == ["bundle.json", "actor.onnx"]
        assert json.loads(archive.read("bundle.json"))["format"] == FORMAT


def test_every_cut_is_refused(tmp_path: Path) -> None:
    content, path = TINY.read_bytes(), tmp_path / "cut.bundle"
    for end in [*range(0, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:end])
        assert refusal(path).startswith("not a whole bundle (")


def test_a_flipped_byte_is_refused_or_changes_nothing(bundle: Bundle, tmp_path: Path) -> None:
    """A zip file holds bytes that say nothing of its content, such as dates."""
    content, path, refused = TINY.read_bytes(), tmp_path / "flip.bundle", 0
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            found = load_bundle(path)
        except InputError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)
        else:
            assert found == bundle
    assert refused > 0.9 * len(content) / 7


@pytest.mark.parametrize("method", [1, 9, 12, 14, 99])
def test_another_compression_than_the_one_used_is_refused(method: int, tmp_path: Path) -> None:
    content = bytearray(TINY.read_bytes())
    local, central = content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")
    assert content[local + 8] == content[central + 10] == zipfile.ZIP_STORED
    content[local + 8] = content[central + 10] = method
    (tmp_path / "odd.bundle").write_bytes(content)
    assert refusal(tmp_path / "odd.bundle").startswith(("not a whole bundle (", "cannot be read ("))


@pytest.mark.parametrize("content", [b"", b"hello", b'{"format": 1}', b"PK\x03\x04", bytes(1000)])
def test_what_is_no_zip_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "no.bundle").write_bytes(content)
    assert refusal(tmp_path / "no.bundle").startswith("not a whole bundle (")


def test_no_file_and_no_readable_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.bundle") == "no such file"
    (tmp_path / "folder.bundle").mkdir()
    assert refusal(tmp_path / "folder.bundle") == "cannot be read (Is a directory)"


@pytest.mark.parametrize("missing", ["bundle.json", "actor.onnx"])
def test_an_archive_without_a_part_is_refused(missing: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(TINY) as whole, zipfile.ZipFile(tmp_path / "part.bundle", "w") as part:
        for name in {"bundle.json", "actor.onnx"} - {missing}:
            part.writestr(name, whole.read(name))
    assert missing in refusal(tmp_path / "part.bundle")


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_another_format_is_named(number: object, tmp_path: Path) -> None:
    path = rewritten(tmp_path / "new.bundle", lambda manifest: manifest.update(format=number))
    assert refusal(path) == f"bundle format {number!r}; this version of setpoint reads format {FORMAT}"


def test_a_manifest_that_is_no_object_is_refused(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "list.bundle", lambda manifest: [manifest])
    assert refusal(path).startswith("not a whole bundle (bundle.json holds no object)")


@pytest.mark.parametrize("part", ["interface", "facts", "provenance", "fingerprint"])
@pytest.mark.parametrize("value", [None, 3, "text", [1], {"a": 1}])
def test_a_manifest_with_a_wrong_part_is_refused_in_one_line(
    part: str, value: object, tmp_path: Path
) -> None:
    path = rewritten(tmp_path / "odd.bundle", lambda manifest: manifest.update({part: value}))
    if part == "provenance":
        assert load_bundle(path).provenance == value, "it is for people, and in no fingerprint"
    else:
        assert "damaged" in refusal(path)
    path = rewritten(path, lambda manifest: manifest.pop(part) and None)
    assert refusal(path) == f"damaged: '{part}'"


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["facts"].update({"period_seconds": 30.0}),
        lambda manifest: manifest["facts"]["actions.changes"].reverse(),
        lambda manifest: manifest.update(fingerprint="0" * 64),
    ],
)
def test_changed_facts_do_not_match_the_fingerprint(
    change: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    path = rewritten(tmp_path / "changed.bundle", change)
    assert refusal(path) == "damaged or changed: its content does not match its fingerprint"


def test_a_changed_interface_does_not_match_its_facts(tmp_path: Path) -> None:
    """The fingerprint is of the facts; the policy is made from the interface."""
    changes = [-0.5, -0.2, 0.0, 0.2]
    path = rewritten(
        tmp_path / "changed.bundle", lambda manifest: manifest["interface"]["actions"].update(changes=changes)
    )
    for interface in (INTERFACE, None):
        assert "actions.changes is " in refusal(path, interface)


def test_another_actor_does_not_match_the_fingerprint(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "actor.bundle"
    with zipfile.ZipFile(TINY) as whole, zipfile.ZipFile(path, "w") as part:
        part.writestr("bundle.json", whole.read("bundle.json"))
        part.writestr("actor.onnx", bundle.actor + b"\0")
    assert refusal(path) == "damaged or changed: its content does not match its fingerprint"


def test_an_older_observer_is_refused_wherever_it_is_loaded(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle.save(tmp_path / "old.bundle")
    monkeypatch.setattr("envs.interface.VERSION", 999)
    for interface in (INTERFACE, None):
        told = "observer.version is 1 there and 999 here"
        assert (
            refusal(tmp_path / "old.bundle", interface)
            == f"changed, or made by another version of setpoint: {told}"
        )


def test_an_actor_that_is_no_onnx_model_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    Bundle.of(b"not a model", bundle.interface, {}).save(tmp_path / "odd.bundle")
    assert refusal(tmp_path / "odd.bundle").startswith("the actor cannot be run (")


@pytest.mark.parametrize("changes", [(-0.5, 0.0, 0.5), (-0.5, -0.1, 0.0, 0.1, 0.5)])
def test_an_actor_that_does_not_fit_its_own_interface_is_refused(
    changes: tuple[float, ...], bundle: Bundle, tmp_path: Path
) -> None:
    actions = INTERFACE.actions.model_copy(update={"changes": changes})
    other = INTERFACE.model_copy(update={"actions": actions})
    Bundle.of(bundle.actor, other, {}).save(tmp_path / "odd.bundle")
    assert refusal(tmp_path / "odd.bundle", other).startswith("the actor ")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"period_seconds": 60.0}, "period_seconds is 60.0 there and 15.0 here"),
        ({"services": ("api",)}, "services is ['api'] there and ['web'] here"),
    ],
)
def test_a_bundle_of_another_interface_is_refused_with_what_differs(
    change: dict[str, object], told: str, bundle: Bundle, tmp_path: Path
) -> None:
    other = INTERFACE.model_copy(update=change)
    Bundle.of(bundle.actor, other, {}).save(tmp_path / "other.bundle")
    assert refusal(tmp_path / "other.bundle") == f"trained for another interface: {told}"
    make_learned(tmp_path / "other.bundle", context_of(other))
    make_learned(tmp_path / "other.bundle", context_of(None))


def test_other_bounds_are_accepted() -> None:
    make_learned(TINY, context_of(INTERFACE.tightened(np.array([3]), np.array([30]))))


@pytest.mark.parametrize(
    "method", ["zipfile.ZipFile.writestr", "pathlib.Path.replace", "zipfile.ZipFile._write_end_record"]
)
def test_a_failing_disk_leaves_the_old_file_and_nothing_else(
    method: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.bundle"
    bundle.save(path)
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(method, fail)
        with pytest.raises(OSError, match="No space left"):
            dataclasses.replace(bundle, provenance={"other": 1}).save(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["kept.bundle"]


def test_logits_keep_leading_axes_and_do_not_depend_on_the_batch(bundle: Bundle) -> None:
    policy = LearnedPolicy(bundle)
    observations = np.random.default_rng(1).uniform(0, 2, (3, 4, 14)).astype(np.float32)
    logits = policy.logits(observations)
    assert logits.shape == (3, 4, 1, 10)
    single = np.stack([[policy.logits(observation) for observation in row] for row in observations])
    assert np.abs(single - logits).max() < 1e-5
    assert np.ptp(logits, axis=(0, 1)).max() > 0, "it looks at what it is shown"


def test_an_actor_whose_output_is_no_number_is_refused_and_would_hold(bundle: Bundle, tmp_path: Path) -> None:
    model = onnx.load_from_string(bundle.actor)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))
    broken = Bundle.of(model.SerializeToString(), bundle.interface, {})
    broken.save(tmp_path / "nan.bundle")
    assert "as after a training that diverged" in refusal(tmp_path / "nan.bundle")
    assert LearnedPolicy(broken).decide(FakePlant(replicas=40, cpu=0.9).snapshot()).replicas.tolist() == [40]
