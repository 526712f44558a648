"""Files that are there whole or not at all."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from simulator.files import check_writable, whole_file


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


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "a.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    with whole_file(link) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert [one.name for one in (tmp_path / "there").iterdir()] == ["a.txt"]


def test_what_is_no_regular_file_is_written_to_as_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(pipe.read_text)
        with whole_file(pipe) as partial:
            partial.write_text("through the pipe")
        assert heard.result(30) == "through the pipe"
    assert pipe.is_fifo()
    with whole_file("/dev/null") as partial:
        partial.write_text("gone")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OSError, match="No space left on device"), whole_file("/dev/full") as partial:
        partial.write_text("x")


def test_standard_output_can_be_named() -> None:
    program = (
        "from simulator.files import whole_file\nwith whole_file('/dev/stdout') as p: p.write_text('said')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "said"), done.stderr


def test_what_can_be_written_is_left_alone_by_the_check(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("old")
    os.mkfifo(tmp_path / "pipe")
    for name in ("old.txt", "new.txt", "pipe"):
        check_writable(tmp_path / name)
    check_writable(tmp_path / "deep" / "new.txt")
    assert {one.name for one in tmp_path.iterdir()} == {"old.txt", "pipe", "deep"}
    assert (tmp_path / "old.txt").read_text() == "old"
    assert not list((tmp_path / "deep").iterdir())


def test_what_cannot_be_written_is_named_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, reason in (
        (Path("/proc/x.bundle"), "No such file or directory: '/proc/x.bundle'"),
        (tmp_path / "file" / "x.bundle", f"Not a directory: '{tmp_path}/file'"),
        (tmp_path / "file" / "deep" / "x.bundle", "Not a directory"),
        (tmp_path, f"Is a directory: '{tmp_path}'"),
    ):
        with pytest.raises(OSError, match=reason):
            check_writable(path)
