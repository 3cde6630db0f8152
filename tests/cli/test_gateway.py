"""``rkllmd gateway``: what it refuses before it listens, beside what every command that serves HTTP does."""

from __future__ import annotations

import hashlib
import signal
import socket
from pathlib import Path

import httpx
import pytest

from rkllmd.cli import gateway
from rkllmd.cli.command import parser_and_commands
from rkllmd.cli.http import HttpError
from tests.cli.commands import run, sentence
from tests.gateway.process import running


def test_balancers_ask_at_an_address() -> None:
    given = parser_and_commands()[0].parse_args(["gateway", "--agent-check", "8080"])
    with pytest.raises(HttpError, match="--agent-check 8080 is not HOST:PORT"):
        gateway.run(given)


@pytest.mark.parametrize("seconds", ["601", "-1", "soon"])
def test_answers_may_go_on_for_some_minutes_at_most(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser_and_commands()[0].parse_args(["gateway", f"--grace={seconds}"])
    assert f"argument --grace: {seconds} is not a whole number from 0 to 600;" in capsys.readouterr().err


def test_an_address_that_is_taken_is_said(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(hashlib.sha256(b"secret").hexdigest())
    # As a process: hypercorn leaves the socket open, which would be a warning here.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("gateway", "--listen", address, "--api-keys", str(keys))
    assert sentence(done) == f"{address} can't be listened to: Address already in use."


def test_keys_are_read_anew_while_it_serves(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(hashlib.sha256(b"old").hexdigest())
    log = tmp_path / "log"
    options = ["--socket", str(tmp_path / "none"), "--listen", "127.0.0.1:0", "--api-keys", str(keys)]
    with running(["gateway", *options], log) as (process, line):
        address = line.split()[-1]

        def status(key: str) -> int:
            return httpx.get(f"{address}/api/version", headers={"x-api-key": key}, timeout=60).status_code

        assert (status("old"), status("new")) == (200, 401)
        keys.write_text(hashlib.sha256(b"new").hexdigest())
        process.send_signal(signal.SIGHUP)
        assert process.stdout is not None
        assert process.stdout.readline().decode() == f"The keys of {keys} were read anew.\n"
        assert (status("old"), status("new")) == (401, 200)
        keys.write_text("")
        process.send_signal(signal.SIGHUP)
        assert (status("old"), status("new")) == (401, 200)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert "is no file of keys: there is no key in it. What was read before goes on." in log.read_text()
