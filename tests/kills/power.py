"""Power cuts: what the disk may have of the store's files at a moment, and what the next daemon makes of that.

What was synchronised is there. Of what was written since then, each block may have come to the disk or not, and a file
may have its new length or the old one. The shim (tests/torture/shim.c) keeps what was synchronised; the process is
stopped while the files are copied.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Final

from rkllmd.store.directory import FILE, NAME
from rkllmd.store.jobs import KeptJob, KeptJobs
from tests.daemon import Daemon, until
from tests.kills.board import SCENARIO
from tests.kills.ledger import Job, Ledger, Submitter
from tests.processes import state_of
from tests.store.stores import opened
from tests.torture import shim
from tests.wire_connection import Wire

_BLOCK: Final = 4096
_CUT_SECONDS: Final = 0.03
# This many jobs are promised at once, ended ones included.
_PROMISED: Final = 30
# In this many of the rounds a daemon does what was left.
_DONE_IN: Final = 100
_FILES: Final = (FILE, f"{FILE}-wal")
# How the blocks that were not synchronised fare: all of them have come to the disk, none, or some.
_CHANCES: Final = (1.0, 0.0, 0.5, 0.9)


class PowerCuts:
    """A daemon that works, and copies of its disk at random moments."""

    def __init__(self, directory: Path, seed: int = 1) -> None:
        self.counts: Counter[str] = Counter()
        self._directory = directory
        self._choice = random.Random(seed)
        self._state, self._synced = directory / "state", directory / "synced"
        for made in (self._state, self._synced):
            made.mkdir(parents=True)
        self._ledger = Ledger()
        self._daemon = Daemon(
            directory,
            *("--state-directory", str(self._state), "--model", str(directory / "model.rkllm"), "--log-level", "1"),
            scenario=SCENARIO,
            environ=shim.environment(synced=self._synced),
        )
        self._daemon.wait_ready()
        self._submitter = Submitter(self._daemon.path, self._ledger, seed)
        self._submitter.begin()
        self._wire = self._daemon.connect()

    def close(self) -> None:
        """Stop; nothing may have gone wrong with the daemon itself."""
        self._submitter.end()
        self._wire.socket.close()
        assert self._daemon.stop() == 0
        assert self._daemon.faults() == []

    def round(self) -> None:
        """Let the power fail at some moment, and look at what is left."""
        self._submitter.forget(self._wire, _PROMISED)
        time.sleep(self._choice.random() * _CUT_SECONDS)
        promised = dict(self._ledger.promised)
        image = self._directory / "image"
        shutil.rmtree(image, ignore_errors=True)
        (image / NAME).mkdir(parents=True, mode=0o700)
        files = self._copied()
        chance = self._choice.choice(_CHANCES)
        for name, (synced, written) in files.items():
            (image / NAME / name).write_bytes(self._left(synced, written, chance))
            (image / NAME / name).chmod(0o600)
        must_be_kept(image, promised)
        self.counts["power cuts"] += 1
        self.counts["jobs in the images"] += len(promised)
        if self.counts["power cuts"] % _DONE_IN == 1:
            self._do_the_rest(image, promised)

    def _copied(self) -> dict[str, tuple[bytes, bytes]]:
        """Return each of the store's files as it was synchronised last, and as it is."""
        pid = self._daemon.process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            until("a daemon that stands still", lambda: _stands_still(pid))
            return {
                name: (_content(self._synced / name), _content(self._state / NAME / name))
                for name in _FILES
                if (self._state / NAME / name).exists()
            }
        finally:
            os.kill(pid, signal.SIGCONT)

    def _left(self, synced: bytes, written: bytes, chance: float) -> bytes:
        """Return what the disk has: of each block the synchronised version, or by this chance the one written since."""
        length = len(written) if chance == 1.0 or self._choice.random() < chance else len(synced)
        blocks = []
        for start in range(0, length, _BLOCK):
            source = written if self._choice.random() < chance else synced
            blocks.append(source[start : min(start + _BLOCK, length)].ljust(min(_BLOCK, length - start), b"\0"))
        return b"".join(blocks)

    def _do_the_rest(self, image: Path, promised: dict[str, Job]) -> None:
        """Start a daemon on what is left: each job that was promised comes to its end."""
        directory = self._directory / "next"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        arguments = ("--state-directory", str(image), "--model", str(self._directory / "model.rkllm"))
        with Daemon(directory, *arguments, scenario=SCENARIO) as daemon, daemon.connect() as wire:
            for job_id, job in promised.items():
                must_end(wire, job_id, job)
        assert daemon.faults() == []
        self.counts["power cuts after which a daemon did the rest"] += 1


def must_end(wire: Wire, job_id: str, job: Job) -> None:
    """Wait for the end of a job, which is a result or says that it may have been done before."""
    while (found := wire.ask("server.job", {"job": job_id})["result"])["status"] in ("queued", "processing"):
        time.sleep(0.003)
    # It has begun there at most once more than before.
    job.must_fit(found, runs=1)


def must_be_kept(image: Path, promised: dict[str, Job]) -> None:
    """Look that the store of an image can be read, and has every job with what it was given or what it became."""
    with opened(image) as store:
        described = store.describe()
        assert described["set_aside"] == [], described
        assert store.is_lasting, described
        kept = {row.id: row for row in KeptJobs(store).read()}
    lost = [job for job_id, job in promised.items() if job_id not in kept]
    assert lost == [], f"lost: {lost}"
    for job_id, job in promised.items():
        _must_be_whole(kept[job_id], job)


def _must_be_whole(row: KeptJob, job: Job) -> None:
    assert row.begun <= 1 + job.retry, row
    assert row.retry == job.retry, row
    if row.request is not None:
        assert job.prompt.encode() in row.request, row
        assert (row.result, row.error) == (None, None), row
    else:
        assert not row.is_waiting, row
        assert row.begun == 1, row
        assert row.error is None, row
        assert row.result is not None, row
        assert job.prompt.encode() in row.result, row


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _stands_still(pid: int) -> bool:
    """Return whether every thread of a process is stopped."""
    return all(state_of(task) == "T" for task in Path(f"/proc/{pid}/task").iterdir())
