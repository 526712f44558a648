"""Files that are there whole or not at all."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from simulator.files import whole_file


def test_the_file_appears_when_the_block_ends_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "a.csv.gz"
    with whole_file(path) as partial:
        assert partial.suffix == ".gz"
        partial.write_bytes(gzip.compress(b"x"))
        assert not path.exists()
    assert [one.name for one in path.parent.iterdir()] == ["a.csv.gz"]


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt()])
def test_whatever_ends_the_block_leaves_the_old_file(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), whole_file(path) as partial:  # noqa: PT012 - the block's end is looked at
        partial.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_an_error_names_the_wanted_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"), whole_file(path):
        raise OSError(28, "No space left on device")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder'$"), whole_file(tmp_path / "folder") as partial:
        partial.write_text("")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), whole_file(tmp_path / "file" / "a.txt"):
        pytest.fail("a file is no folder")


def test_other_files_keep_their_names_in_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="other"), whole_file(tmp_path / "a.txt"):
        (tmp_path / "other").read_text()
