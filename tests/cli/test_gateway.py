"""``rkllmd gateway``: what it refuses before it listens."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest

from rkllmd.cli import gateway
from rkllmd.cli.command import parser_and_commands
from tests.cli.commands import run, sentence


def refusal(*arguments: str) -> str:
    with pytest.raises(gateway.GatewayError) as refused:
        gateway.run(parser_and_commands()[0].parse_args(["gateway", *arguments]))
    return str(refused.value)


def test_an_address_beyond_this_machine_needs_keys() -> None:
    assert "--api-keys" in refusal("--listen", "127.0.0.1:0", "--listen", "0.0.0.0:0")


@pytest.mark.parametrize("address", ["8080", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", ":80"])
def test_an_address_has_a_host_and_a_port(address: str) -> None:
    assert "is not HOST:PORT" in refusal("--listen", address)


def test_a_file_of_keys_must_be_there_and_have_hashes(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    assert "can't be read: No such file" in refusal("--api-keys", str(keys))
    keys.write_text("secret\n")
    assert "is no file of keys: line 1" in refusal("--api-keys", str(keys))


def test_an_address_that_is_taken_is_said(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(hashlib.sha256(b"secret").hexdigest())
    # As a process: hypercorn leaves the socket open, which would be a warning here.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("gateway", "--listen", address, "--api-keys", str(keys))
    assert sentence(done) == f"{address} can't be listened to: Address already in use."
