"""The command line where the daemon goes, or is not the one that it should be."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import COMMAND, run, sentence
from tests.client.played import Place, again
from tests.daemon import Daemon

Start = Callable[..., Daemon]


def test_a_daemon_that_goes_during_a_call(start: Start) -> None:
    daemon = start(scenario="delay.rkllm_init=60000")
    process = subprocess.Popen(
        [*COMMAND, "call", "rkllm.init", json.dumps({"model_path": str(daemon.model)}), "--socket", daemon.path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    daemon.wait_enter("rkllm_init")
    daemon.stop(signal.SIGKILL)
    output, errors = process.communicate(timeout=300)
    said = sentence(subprocess.CompletedProcess([], process.returncode, output, errors))
    assert said.startswith("The connection ended before rkllm.init was answered, and how far that came is not known")


def test_call_goes_on_with_what_it_watches(start: Start) -> None:
    daemon = start()
    command = [*COMMAND, "call", "server.watch", '{"events": ["queue"]}', "--socket", daemon.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"watching": ["queue"]}
        assert json.loads(process.stdout.readline())["event"] == "queue"
        daemon.stop()
        again(start, daemon)
        assert json.loads(process.stdout.readline()) == {"event": "reconnected"}
        assert json.loads(process.stdout.readline())["event"] == "queue"
        process.send_signal(signal.SIGINT)
        assert process.communicate()[1] == ""
    assert process.returncode == 130


def test_a_daemon_that_is_being_started_again_is_waited_for(tmp_path: Path) -> None:
    """Not a call that might have begun: the keeper says that nobody has read it."""
    place = Place(str(tmp_path / "rkllm.sock"))
    command = [*COMMAND, "call", "rkllm.run", '{"prompt": "a"}', "--socket", place.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        keeper = place.next()
        assert keeper.request()["method"] == "rkllm.run"
        keeper.restarting(10)
        place.next().answer_next({"text": "b"})
        assert process.stdout is not None
        assert json.loads(process.stdout.read()) == {"text": "b"}
    assert process.returncode == 0
    place.close()


# -- who serves --------------------------------------------------------------------------------------------------------


def test_another_user_is_not_told_anything(tmp_path: Path) -> None:
    path = str(tmp_path / "rkllm.sock")
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(path)
        stranger.listen()
        other = str(os.geteuid() + 1)
        said = sentence(run("call", "rkllm.run", '{"prompt": "secret"}', "--socket", path, "--requirepeer", other))
        assert said.startswith(f"{path} is not trusted, so nothing was sent: ")
        assert f"it should be {other}" in said
        for arguments in (["chat"], ["call", "server.status"]):
            assert "not trusted" in sentence(run(*arguments, "--socket", path, environ={"RKLLM_REQUIREPEER": other}))
        for _ in range(3):
            connection, _ = stranger.accept()
            with connection:
                assert connection.recv(100) == b""


@pytest.mark.parametrize("whom", [str(os.geteuid()), ""])
def test_whom_one_has_named_is_trusted(start: Start, whom: str) -> None:
    daemon = start()
    done = run("call", "server.queue", "--socket", daemon.path, "--requirepeer", whom)
    assert (done.returncode, done.stderr) == (0, "")
