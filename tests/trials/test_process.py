"""The process that tries files: one for many trials, another when it has gone, bounded in memory."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rkllmd.trials import process
from rkllmd.trials.process import Ended, Trier
from tests.processes import descendants


def request(**more: Any) -> dict[str, Any]:
    return {
        "runtime": "rknn",
        "library": None,
        "model_path": "/nowhere",
        "offset": 0,
        "part": 0,
        "most_bytes": -1,
        "tensor_bytes": None,
        **more,
    }


def test_one_process_serves_many_trials_and_another_when_it_has_gone() -> None:
    others = set(descendants(os.getpid()))  # of tests that share this process
    trier = Trier()
    try:
        for _ in range(2):
            ended = trier.run(request(), [], lambda: True)
            assert (ended.failed, ended.death) == ("rknn_init", None)
            assert "/nowhere cannot be opened" in ended.lines[-1]
        (first,) = set(descendants(os.getpid())) - others
        os.kill(first, signal.SIGKILL)
        assert trier.run(request(), [], lambda: True).failed == "rknn_init"
        assert set(descendants(os.getpid())) - others != {first}
        assert trier.run(request(), [], lambda: False).is_cancelled
        assert trier.run(request(runtime="unknown"), [], lambda: True).death == "exit status 1"
    finally:
        trier.close()


def test_memory_is_bounded(tmp_path: Path) -> None:
    model = tmp_path / "large.onnx"
    with model.open("wb") as file:  # one field of 512 MiB, which is read as a whole
        file.write(b"\x0a\x80\x80\x80\x80\x02")
        file.truncate(2**29)
    trier = Trier()
    try:
        ended = trier.run(request(model_path=str(model), most_bytes=2**28), [], lambda: True)
        assert ended.failed == "rknn_init" or ended.death is not None
    finally:
        trier.close()


@pytest.mark.parametrize(
    ("status", "name"), [(0, "exit status 0"), (3, "exit status 3"), (-6, "SIGABRT"), (-40, "signal 40")]
)
def test_what_an_end_is_called(status: int, name: str) -> None:
    assert process._name(status) == name


class Script:
    """A trial that reports and prints what the test says, in the place of the process that tries files."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader, self._writer = os.pipe()
        os.set_blocking(reader, False)
        self.returncode = -9
        self.stdout = open(reader, "rb", buffering=0)  # noqa: SIM115  # closed in close
        self._theirs = theirs
        self.wanted = True
        made: Any = self
        self.watch = process._Watch(made, theirs, lambda: self.wanted)

    def wait(self) -> int:
        """Return at once: it has ended."""
        return self.returncode

    def reports(self, *messages: dict[str, Any]) -> None:
        """Report."""
        for message in messages:
            self._ours.send(json.dumps(message).encode())

    def prints(self, text: bytes) -> None:
        """Print."""
        os.write(self._writer, text)

    def leaves(self) -> None:
        """Close the connection."""
        self._ours.close()

    def close(self) -> None:
        """Close all of it."""
        self._ours.close()
        self._theirs.close()
        os.close(self._writer)
        self.stdout.close()


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()
    yield script
    script.close()


def test_a_trial_that_has_done_everything(script: Script) -> None:
    script.prints("first\n\n  caf\xe9 \nlast".encode("latin-1"))
    script.reports({"step": "rkllm_init"}, {"step": "rkllm_run", "seconds": 10}, {"done": True}, {"ended": 0})
    script.watch.until_end()
    assert script.watch.has_ended
    assert script.watch.ended() == Ended(step="rkllm_run", lines=["first", "caf\ufffd", "last"])


def test_a_function_that_fails_in_the_ordinary_way(script: Script) -> None:
    script.reports({"step": "rkllm_init"}, {"failed": "rkllm_init", "status": -1}, {"done": True}, {"ended": 0})
    script.watch.until_end()
    assert script.watch.ended() == Ended(step="rkllm_init", failed="rkllm_init", status=-1)


def test_a_death_before_everything_was_done_even_with_status_0(script: Script) -> None:
    """A library may call exit."""
    script.reports({"step": "rkllm_init"}, {"ended": 0})
    script.watch.until_end()
    assert script.watch.ended() == Ended(step="rkllm_init", death="exit status 0")


def test_only_the_end_of_much_output_is_kept_and_of_a_long_line_the_beginning(script: Script) -> None:
    script.prints(b"".join(b"%d\n" % number for number in range(100)) + b"x" * 5000 + b"\n")
    script.reports({"done": True}, {"ended": 0})
    script.watch.until_end()
    lines = script.watch.ended().lines
    assert (len(lines), lines[0], lines[-2], lines[-1]) == (50, "51", "99", "x" * 1000)


def test_a_trial_that_nobody_wants_any_more(script: Script) -> None:
    script.wanted = False
    script.watch.until_end()
    assert not script.watch.has_ended, "whoever watches ends the process"
    assert script.watch.ended().is_cancelled


def test_a_step_that_takes_longer_than_any_load(script: Script) -> None:
    script.watch._step_at -= 901
    script.watch.until_end()
    assert (script.watch.has_ended, script.watch.ended().is_late) == (False, True)


def test_a_run_that_goes_on_for_a_while_counts_as_good(script: Script) -> None:
    script.reports({"step": "rkllm_run", "seconds": 0})
    script.watch.until_end()
    assert not script.watch.has_ended
    assert script.watch.ended() == Ended(step="rkllm_run")


def test_a_process_that_is_killed_during_a_trial_has_taken_the_trial_along(script: Script) -> None:
    script.reports({"step": "rkllm_init"})
    script.leaves()
    script.watch.until_end()
    assert script.watch.ended() == Ended(step="rkllm_init", death="SIGKILL")


def test_a_process_that_has_left_before_the_trial_is_another_matter(script: Script) -> None:
    script.leaves()
    with pytest.raises(ConnectionResetError):
        script.watch.until_end()
