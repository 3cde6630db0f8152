"""Clients whose daemon is the test, and a real daemon with a model."""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rkllmd.client import Client
from tests.client.played import SECONDS, Played
from tests.daemon import Daemon


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "rkllm.sock")


@pytest.fixture
def listening(path: str) -> Iterator[stdlib_socket.socket]:
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as listening:
        listening.settimeout(SECONDS)
        listening.bind(path)
        listening.listen()
        yield listening


@pytest.fixture
def plain(listening: stdlib_socket.socket, path: str) -> Iterator[tuple[Client, Played]]:
    """Return a plain client and its daemon: what that sends before the client asks waits in the socket."""
    with Client(path) as client:
        client._connection._socket.settimeout(SECONDS)
        connection, _ = listening.accept()
        connection.settimeout(SECONDS)
        with connection:
            yield client, Played(connection)


@pytest.fixture
def played(listening: stdlib_socket.socket, path: str) -> Iterator[tuple[Client, Played]]:
    """Return a plain client as anybody makes one, and its daemon."""
    with Client(path) as client:
        connection, _ = listening.accept()
        connection.settimeout(SECONDS)
        with connection:
            yield client, Played(connection)


@pytest.fixture(scope="module")
def daemon(start_for_module: Callable[..., Daemon]) -> Daemon:
    daemon = start_for_module()
    daemon.load()
    return daemon
