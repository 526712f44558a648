"""Many runs on all cores, each kept when it is finished, so that a sweep can be resumed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Generic, Self, TypeVar

import numpy as np

from experiments.interruption import deferred
from experiments.run import Outcome, Run, execute
from simulator.files import whole_file

Done = Callable[[Run], None]
What = TypeVar("What")


@dataclass(frozen=True, slots=True)
class Job(Generic[What]):
    """Work for a process of its own.

    Attributes:
        key: SHA-256 of all that the result depends on, in hexadecimal.
        what: what it is about.
    """

    key: str
    work: Callable[[], Outcome]
    what: What


class Store:
    """Finished runs by content in a folder; a file is there whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, key: str) -> Outcome | None:
        """A finished run by its key, None if there is none or its file is damaged."""
        try:
            with self._path(key).open("rb") as file, np.load(file, allow_pickle=False) as content:
                row = json.loads(str(content["row"]))
                timeline = {name: content[name] for name in content.files if name != "row"}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        return Outcome(row, timeline)

    def save(self, key: str, outcome: Outcome) -> None:
        """Keep a finished run."""
        with whole_file(self._path(key)) as partial, partial.open("wb") as file:
            np.savez_compressed(file, row=np.array(json.dumps(outcome.row)), **outcome.timeline)  # type: ignore[arg-type]

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.npz"


class Sweep:
    """Runs on a pool of processes, with a Store behind it; use it in a ``with`` block.

    Attributes:
        processes: of the pool.
    """

    def __init__(self, folder: Path, processes: int | None = None) -> None:
        self._store = Store(folder)
        self.processes = processes or os.cpu_count() or 1
        self._pool: ProcessPoolExecutor | None = None
        self._others: list[BaseProcess] = []

    def __enter__(self) -> Self:
        """The pool starts with the first run that is not in the Store."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Drop what has not begun and, after an error or Ctrl-C, what has not ended."""
        if self._pool is None:
            return
        if kind is not None:
            for worker in set(multiprocessing.active_children()).difference(self._others):
                worker.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def outcomes(self, runs: list[Run], done: Done | None = None) -> list[Outcome]:
        """The outcome of each run, in order; ``done`` hears of each as it is there."""
        return self.all_kept([Job(run.key, partial(execute, run), run) for run in runs], done)

    def all_kept(self, jobs: list[Job[What]], done: Callable[[What], None] | None = None) -> list[Outcome]:
        """What is in the Store of each job, or else what its work comes to, in order; ``done`` hears of each."""
        found = {key: self._store.load(key) for key in dict.fromkeys(job.key for job in jobs)}
        waiting: dict[Future[Outcome], str] = {}
        by_key = {job.key: job for job in jobs}
        try:
            for job in jobs:
                if found[job.key] is not None and done:
                    done(job.what)
            for key, job in by_key.items():
                if found[key] is None:
                    waiting[self.begin(job.work)] = key
            while waiting:
                finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    key = waiting.pop(future)
                    result = found[key] = future.result()
                    self._store.save(key, result)
                    if done:
                        done(by_key[key].what)
        except BaseException:
            for future in waiting:
                future.cancel()
            raise
        return [outcome for job in jobs if (outcome := found[job.key]) is not None]

    def kept(self, key: str, work: Callable[[], Outcome]) -> Outcome:
        """What is in the Store under a key, or else what the work comes to, which is kept there."""
        found = self._store.load(key)
        if found is None:
            found = work()
            self._store.save(key, found)
        return found

    def begin(self, work: Callable[[], What]) -> Future[What]:
        """Begin work in a process of the pool; nothing of it is kept."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._others = multiprocessing.active_children()
            self._pool = ProcessPoolExecutor(self.processes, mp_context=context, initializer=_begin_worker)
        with deferred():
            return self._pool.submit(work)


def _begin_worker() -> None:
    """Ctrl-C is the parent's to handle; however the parent ends, the worker ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
