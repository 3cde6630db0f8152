"""A listening socket that was inherited from the service manager."""

from __future__ import annotations

import os
import socket as stdlib_socket

import pytest

from rkllmd.net.listening import listener
from rkllmd.net.listening.listener import ListenError, inherited
from tests.net.listening.sockets import connects, listening_at, pass_on, variables


def test_a_passed_socket_is_taken(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pass_on(monkeypatch, listening_at(path))
    environ = variables()
    found = inherited(environ)
    assert found is not None
    assert (found.path, found.lock, found.inode) == (path, None, None)
    assert environ == {}, "children must not take the variables for theirs"
    assert not found.socket.get_inheritable()
    assert connects(path)
    found.close()
    assert not connects(path)
    assert os.path.exists(path), "the path belongs to the service manager"


def test_a_passed_socket_in_the_abstract_namespace_has_a_readable_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"rkllmd-test-{os.getpid()}"
    pass_on(monkeypatch, listening_at(f"\0{name}"))
    found = inherited(variables())
    assert found is not None
    assert found.path == f"@{name}"
    found.close()


def test_the_descriptor_is_the_one_of_the_interface() -> None:
    assert listener._FIRST_INHERITED == 3, "SD_LISTEN_FDS_START in sd_listen_fds(3)"


@pytest.mark.parametrize(
    "environ",
    [{}, variables(pid="1"), variables("0"), variables("x"), variables(""), {"LISTEN_FDS": "1"}],
    ids=["nothing", "another process", "none", "no number", "no count", "no pid"],
)
def test_nothing_was_passed(path: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = listening_at(path)
    pass_on(monkeypatch, descriptor)
    try:
        assert inherited(environ) is None
        assert environ == {}
        assert connects(path), "it is not ours to close"
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("family", "kind", "listens"),
    [
        (stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM, False),
        (stdlib_socket.AF_INET, stdlib_socket.SOCK_STREAM, True),
        (stdlib_socket.AF_UNIX, stdlib_socket.SOCK_DGRAM, False),
    ],
    ids=["not listening", "no Unix socket", "no stream"],
)
def test_a_passed_socket_of_another_kind_is_refused(
    family: int, kind: int, listens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = stdlib_socket.socket(family, kind)
    if listens:
        socket.listen()
    pass_on(monkeypatch, socket.detach())
    with pytest.raises(ListenError, match="must be a listening Unix stream socket"):
        inherited(variables())


def test_a_passed_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = os.open("/dev/null", os.O_RDONLY)
    pass_on(monkeypatch, descriptor)
    with pytest.raises(ListenError, match="was passed as a listening socket but is not one"):
        inherited(variables())
    os.close(descriptor)


def test_a_descriptor_that_is_not_open_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_FIRST_INHERITED", 1_000_000)
    with pytest.raises(ListenError, match="is not one: Bad file descriptor"):
        inherited(variables())


def test_more_than_one_socket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_FIRST_INHERITED", 1_000_000)
    with pytest.raises(ListenError, match="2 sockets were passed"):
        inherited(variables("2"))


def test_the_variables_of_another_process_are_taken_out_too() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "OTHER": "1"}
    assert inherited(environ) is None
    assert environ == {"OTHER": "1"}
