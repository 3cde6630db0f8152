"""The clients' errors: pickled, of one base, and what Python calls them."""

from __future__ import annotations

import copy
import errno
import pickle
import socket as stdlib_socket
from pathlib import Path

import pytest

from rkllmd import client as client_module
from rkllmd.client import (
    CallError,
    CallTimeout,
    Client,
    ClientError,
    ConnectError,
    ConnectionLost,
    ConnectNotPermitted,
    Crashed,
    DaemonNotListening,
    PeerNotTrusted,
    SocketNotFound,
    UnusableSocketPath,
    open_client,
)
from tests.client.played import SECONDS
from tests.daemon import Daemon

ERRORS: list[ClientError] = [
    CallError({"code": -32602, "message": "No.", "data": {"kind": "InvalidParams", "path": "$.x"}}),
    CallError({"code": -32601, "message": "Method not found", "data": {"detail": "There is no x."}}),
    CallTimeout("rkllm.run", 2.5),
    ConnectionLost(),
    Crashed("rkllm.run"),
    PeerNotTrusted(errno.EPERM, "eve serves it", "/x"),
    ConnectionLost("This client was closed."),
    SocketNotFound(errno.ENOENT, "No such file or directory", "/x"),
    UnusableSocketPath(errno.ENAMETOOLONG, "AF_UNIX path too long", "/x"),
]


def test_a_call_error_says_what_the_daemon_said_and_its_detail() -> None:
    assert str(ERRORS[0]) == "No."
    assert str(ERRORS[1]) == "Method not found: There is no x."


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling_and_copying(error: ClientError) -> None:
    for made in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(made) is type(error)
        assert (str(made), made.args) == (str(error), error.args)
        for name in ("code", "kind", "data", "method", "timeout", "errno", "filename"):
            assert getattr(made, name, None) == getattr(error, name, None)


def test_an_error_crosses_from_another_process(daemon: Daemon) -> None:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, pytest.raises(CallError) as caught:
        pool.submit(call_in_a_process, daemon.path).result(SECONDS)
    assert caught.value.kind == "MethodNotFound"


def call_in_a_process(path: str) -> None:
    with Client(path) as client:
        client.call("unknown")


def test_all_errors_have_one_base() -> None:
    exported = [getattr(client_module, name) for name in client_module.__all__]
    errors = [item for item in exported if isinstance(item, type) and issubclass(item, BaseException)]
    assert len(errors) >= 9
    assert all(issubclass(error, ClientError) for error in errors)


@pytest.mark.parametrize("make", ["missing", "nobody", "long", "nul", "file", "below"])
async def test_errors_of_connecting_are_client_errors_and_what_python_calls_them(tmp_path: Path, make: str) -> None:
    path = str(tmp_path / "rkllm.sock")
    expected: tuple[type[ConnectError], type[Exception]] = {
        "missing": (SocketNotFound, FileNotFoundError),
        "nobody": (DaemonNotListening, ConnectionRefusedError),
        "long": (UnusableSocketPath, OSError),
        "nul": (UnusableSocketPath, ValueError),
        "file": (DaemonNotListening, ConnectionRefusedError),
        "below": (UnusableSocketPath, OSError),
    }[make]
    if make == "nobody":
        with stdlib_socket.socket(stdlib_socket.AF_UNIX) as left_behind:
            left_behind.bind(path)
    elif make == "long":
        path = "/" + "x" * 200
    elif make == "nul":
        path = "/a\0b"
    elif make in ("file", "below"):
        Path(path).touch()
        path = f"{path}/x" if make == "below" else path
    with pytest.raises(ClientError) as caught:
        Client(path)
    with pytest.raises(ClientError) as caught_by_trio:
        async with open_client(path):
            pass
    for error in (caught.value, caught_by_trio.value):
        assert isinstance(error, expected[0])
        assert isinstance(error, OSError)
        assert error.filename == path
        assert isinstance(error, expected[1])
        assert path.replace("\0", "\\x00") in client_module.why_no_connection(error)


def test_who_may_not_connect_is_told_so() -> None:
    assert issubclass(ConnectNotPermitted, PermissionError)
    error = ConnectNotPermitted(errno.EACCES, "Permission denied", "/run/rkllm/rkllm.sock")
    assert "member of the group" in client_module.why_no_connection(error)
