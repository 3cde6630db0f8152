"""Who serves the socket is looked at before anything is sent."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rkllmd.client import Client, ConnectError, PeerNotTrusted, open_client, peer, why_no_connection

ME = os.geteuid()
NOBODY = 65_534
# Serves a socket as another user, which only root can become, and writes down what comes.
_STRANGER = """
import os, socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
os.setuid(int(sys.argv[2]))
listening.listen()
print("listening", flush=True)
connection, _ = listening.accept()
print(connection.recv(100), flush=True)
"""


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[str]:
    """Return the path of a socket of one's own."""
    path = str(tmp_path / "rkllm.sock")
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(path)
        found.listen()
        yield path


@pytest.mark.parametrize(
    ("uid", "wanted", "expected"),
    [
        (0, None, True),
        (ME, None, True),
        (ME + 1, None, False),
        (ME + 1, ME + 1, True),
        (ME + 1, str(ME + 1), True),
        (0, ME + 1, False),
        (ME, str(ME + 1), False),
        (0, "root", True),
        (ME + 1, "root", False),
        (ME, "no such user", False),
    ],
)
def test_who_is_trusted(uid: int, wanted: str | int | None, expected: bool) -> None:
    assert peer.is_trusted(uid, wanted) is expected


def test_the_user_of_the_service_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    service = pwd.struct_passwd(("rkllm", "x", ME + 7, ME + 7, "", "/", "/bin/false"))
    monkeypatch.setattr(pwd, "getpwnam", {"rkllm": service}.__getitem__)
    assert peer.is_trusted(ME + 7, None)
    assert not peer.is_trusted(ME + 8, None)


def test_the_user_of_the_service_is_the_one_that_is_installed() -> None:
    units = Path(__file__).resolve().parents[2] / "systemd"
    assert f"User={peer.SERVICE_USER}\n" in (units / "rkllmd.service").read_text()


async def test_another_user_than_the_one_that_is_wanted(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PeerNotTrusted) as plain:
        Client(listening, requirepeer=ME + 1)
    with pytest.raises(PeerNotTrusted) as of_trio:
        async with open_client(listening, requirepeer=str(ME + 1)):
            pass
    monkeypatch.setenv("RKLLM_REQUIREPEER", str(ME + 1))
    with pytest.raises(PeerNotTrusted) as by_environment:
        Client(listening)
    me = pwd.getpwuid(ME).pw_name
    for caught in (plain, of_trio, by_environment):
        assert caught.value.filename == listening
        said = why_no_connection(caught.value)
        assert said.startswith(f"{listening} is not trusted, so nothing was sent: {me} (uid {ME}, process ")
        assert said.endswith(f"it should be {ME + 1}; if it is right, say so with requirepeer {me}.")


async def test_who_is_wanted_or_nobody_in_particular(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Client(listening, requirepeer=ME).close()
    Client(listening, requirepeer="").close()
    monkeypatch.setenv("RKLLM_REQUIREPEER", "")
    Client(listening).close()
    async with open_client(listening):
        pass


@pytest.mark.skipif(ME != 0, reason="only root can become another user")
def test_a_stranger_gets_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "rkllm.sock")
    command = [sys.executable, "-c", _STRANGER, path, str(NOBODY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        with pytest.raises(PeerNotTrusted, match="neither root, rkllm nor you"):
            Client(path)
        assert process.stdout.readline() == "b''\n"


def test_a_queue_of_connections_that_is_full_is_no_stranger(listening: str) -> None:
    """The kernel knows no other side of a socket that is not connected."""
    with socket.socket(socket.AF_UNIX) as unconnected, pytest.raises(ConnectError) as caught:
        peer.check(unconnected, listening, None)
    assert not isinstance(caught.value, PeerNotTrusted)
