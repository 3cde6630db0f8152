"""``rkllmd gateway``: what it refuses before it listens, beside what every command that serves HTTP does."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest

from rkllmd.cli import gateway
from rkllmd.cli.command import parser_and_commands
from rkllmd.cli.http import HttpError
from tests.cli.commands import run, sentence


def test_balancers_ask_at_an_address() -> None:
    given = parser_and_commands()[0].parse_args(["gateway", "--agent-check", "8080"])
    with pytest.raises(HttpError, match="--agent-check 8080 is not HOST:PORT"):
        gateway.run(given)


@pytest.mark.parametrize("seconds", ["601", "-1", "soon"])
def test_answers_may_go_on_for_some_minutes_at_most(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser_and_commands()[0].parse_args(["gateway", f"--grace={seconds}"])
    assert "argument --grace: " in capsys.readouterr().err


def test_an_address_that_is_taken_is_said(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(hashlib.sha256(b"secret").hexdigest())
    # As a process: hypercorn leaves the socket open, which would be a warning here.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("gateway", "--listen", address, "--api-keys", str(keys))
    assert sentence(done) == f"{address} can't be listened to: Address already in use."
