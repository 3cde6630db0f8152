"""The listening socket: its lock, its permissions, what is left behind, and accepting when descriptors run out."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import socket as stdlib_socket
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from rkllmd.net import listener
from rkllmd.net.listener import Listener, ListenError, bind, inherited


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "rkllm.sock")


@contextmanager
def bound(path: str) -> Iterator[Listener]:
    listening = bind(path)
    try:
        yield listening
    finally:
        listening.close()


def refused(path: str) -> str:
    with pytest.raises(ListenError) as caught:
        bind(path)
    return str(caught.value)


def connects(path: str) -> bool:
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


# Binding


def test_a_socket_is_bound_and_removed_again(path: str) -> None:
    with bound(path) as listening:
        assert listening.path == path
        assert connects(path)
    assert not os.path.exists(path)
    assert not os.path.exists(f"{path}.lock"), "another user's daemon could not take it"


def test_a_lock_that_goes_while_it_is_taken_is_not_the_lock(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking, the daemon before may have left and another one come."""
    real = fcntl.flock
    others: list[Listener] = []

    def late(lock: int, operation: int) -> None:
        if not others:
            os.unlink(f"{path}.lock")
            others.append(None)  # type: ignore[arg-type]  # its own call of this comes here too
            others[0] = bind(path)
        real(lock, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert refused(path).startswith(f"Another rkllmd (pid {os.getpid()}) serves")
    assert connects(path)
    others[0].close()


def test_a_refused_start_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    assert "is no socket" in refused(str(tmp_path / "model.gguf"))
    assert os.listdir(tmp_path) == ["model.gguf"]


def test_another_users_lock_is_told_from_a_fault(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    Path(f"{path}.lock").touch()
    monkeypatch.setattr(os, "open", denied)
    assert refused(path) == f"The lock {path}.lock can't be opened: Permission denied."
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    owner = pwd.getpwuid(os.getuid()).pw_name
    assert refused(path) == (
        f"The lock {path}.lock is {owner}'s, whose rkllmd serves {path} or was killed: choose another --socket, "
        "or have the file removed if none runs."
    )


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_owner_and_group_may_connect_whatever_the_umask(path: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        with bound(path):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
            assert os.umask(umask) == umask, "the umask is as it was"
    finally:
        os.umask(before)


def test_the_socket_is_never_open_to_all_for_a_moment(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    real = stdlib_socket.socket.bind

    def spy(self: stdlib_socket.socket, address: Any) -> None:
        real(self, address)
        modes.append(stat.S_IMODE(os.stat(path).st_mode))

    monkeypatch.setattr(stdlib_socket.socket, "bind", spy)
    before = os.umask(0)
    try:
        with bound(path):
            assert modes == [0o660]
    finally:
        os.umask(before)


def test_a_second_daemon_is_told_who_has_the_socket(path: str) -> None:
    with bound(path):
        assert refused(path) == (
            f"Another rkllmd (pid {os.getpid()}) serves {path}: stop it with 'rkllmd stop --socket {path}', "
            "or choose another --socket."
        )
        assert connects(path), "the first is untouched"
    with bound(path):
        pass


def test_a_second_daemon_is_refused_even_if_the_lock_names_nobody(path: str) -> None:
    with bound(path):
        os.truncate(f"{path}.lock", 0)
        assert refused(path).startswith(f"Another rkllmd serves {path}")


def test_the_lock_is_not_passed_to_children(path: str) -> None:
    with bound(path) as listening:
        assert listening.lock is not None
        assert not os.get_inheritable(listening.lock)
        assert not listening.socket.get_inheritable()


def test_a_full_disk_does_not_hinder_the_lock(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with bound(path):
        assert refused(path).startswith("Another rkllmd serves")


def test_a_socket_that_nobody_serves_is_replaced(path: str) -> None:
    left = stdlib_socket.socket(stdlib_socket.AF_UNIX)
    left.bind(path)
    left.close()
    with bound(path):
        assert connects(path)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(path: str, kind: str, tmp_path: Path) -> None:
    place = Path(path)
    match kind:
        case "file":
            place.write_text("precious")
        case "directory":
            place.mkdir()
        case "link":
            place.symlink_to(tmp_path / "elsewhere")
    assert refused(path) == f"{path} can't be bound: there is a file at this path that is no socket."
    assert place.is_symlink() or place.exists()
    place.rename(tmp_path / "aside")
    with bound(path):
        pass  # the lock was given back


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "no" / "rkllm.sock")
    assert refused(path) == f"There is no directory {Path(path).parent} for the socket: make it first."


def test_a_lock_that_is_a_link_is_not_followed(path: str, tmp_path: Path) -> None:
    """Anybody may make links in /tmp; the daemon must not write where they point."""
    (tmp_path / "target").write_text("precious")
    Path(f"{path}.lock").symlink_to(tmp_path / "target")
    assert "can't be opened" in refused(path)
    assert (tmp_path / "target").read_text() == "precious"


def test_a_path_that_the_kernel_refuses(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * 120))
    assert refused(path) == f"{path} can't be bound: AF_UNIX path too long."


def test_a_path_that_is_not_ours_any_more_is_not_removed(path: str) -> None:
    with bound(path):
        os.unlink(path)
        other = stdlib_socket.socket(stdlib_socket.AF_UNIX)
        other.bind(path)
        other.close()
    assert os.path.exists(path)


def test_a_path_that_is_gone_is_no_error(path: str) -> None:
    with bound(path):
        os.unlink(path)
    with bound(path):
        pass


# Inherited from the service manager. Descriptor 3 belongs to pytest here, so another stands in for it.


def pass_on(monkeypatch: pytest.MonkeyPatch, descriptor: int) -> None:
    monkeypatch.setattr(listener, "_FIRST_INHERITED", descriptor)
    os.set_inheritable(descriptor, True)  # as it is after exec


def variables(count: str = "1", pid: str | None = None) -> dict[str, str]:
    own = str(os.getpid()) if pid is None else pid
    return {"LISTEN_PID": own, "LISTEN_FDS": count, "LISTEN_FDNAMES": "rkllmd.socket"}


def listening_at(path: str) -> int:
    socket = stdlib_socket.socket(stdlib_socket.AF_UNIX)
    socket.bind(path)
    socket.listen()
    return socket.detach()


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
    with pytest.raises(ListenError, match="was passed as a listening socket but is none"):
        inherited(variables())
    os.close(descriptor)


def test_a_descriptor_that_is_not_open_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_FIRST_INHERITED", 1_000_000)
    with pytest.raises(ListenError, match="is none: Bad file descriptor"):
        inherited(variables())


def test_more_than_one_socket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_FIRST_INHERITED", 1_000_000)
    with pytest.raises(ListenError, match="2 sockets were passed"):
        inherited(variables("2"))


def test_the_variables_of_another_process_are_taken_out_too() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "OTHER": "1"}
    assert inherited(environ) is None
    assert environ == {"OTHER": "1"}


# Accepting


class Accepting:
    """``accept`` in a task, and what it has accepted."""

    def __init__(self, listening: Listener, nursery: trio.Nursery) -> None:
        self.sockets: list[stdlib_socket.socket] = []
        self._accepted = trio.Event()
        nursery.start_soon(listener.accept, listening, self._serve)

    def _serve(self, socket: stdlib_socket.socket) -> None:
        self.sockets.append(socket)
        self._accepted.set()

    async def accepted(self, count: int) -> None:
        """Wait until so many were accepted."""
        while len(self.sockets) < count:
            await self._accepted.wait()
            self._accepted = trio.Event()


@pytest.fixture
async def accepting(path: str) -> Any:
    with bound(path) as listening:
        async with trio.open_nursery() as nursery:
            started = Accepting(listening, nursery)
            yield started
            nursery.cancel_scope.cancel()
        for socket in started.sockets:
            socket.close()


def connect(path: str) -> stdlib_socket.socket:
    client = stdlib_socket.socket(stdlib_socket.AF_UNIX)
    client.connect(path)
    return client


async def test_clients_are_accepted_without_blocking(path: str, accepting: Accepting) -> None:
    with connect(path), connect(path):
        with trio.fail_after(120):
            await accepting.accepted(2)
        assert [socket.getblocking() for socket in accepting.sockets] == [False, False]


async def test_a_burst_of_clients_is_accepted_in_a_few_rounds_of_the_event_loop(path: str) -> None:
    """Where others are busy, a round takes half a millisecond for each of them."""
    clients, rounds = 64, 0
    with bound(path) as listening:
        burst = [connect(path) for _ in range(clients)]
        async with trio.open_nursery() as nursery:
            accepting = Accepting(listening, nursery)
            while len(accepting.sockets) < clients:
                await trio.lowlevel.checkpoint()
                rounds += 1
            nursery.cancel_scope.cancel()
        for socket in [*burst, *accepting.sockets]:
            socket.close()
    assert rounds < clients / 2


def failing(monkeypatch: pytest.MonkeyPatch, *errors: int) -> list[int]:
    """Let accept fail with these errors before it works again; return the errors still to come."""
    left = list(errors)
    real: Callable[..., Any] = stdlib_socket.socket.accept

    def accept(self: stdlib_socket.socket) -> Any:
        if left:
            number = left.pop(0)
            raise OSError(number, os.strerror(number))
        return real(self)

    monkeypatch.setattr(stdlib_socket.socket, "accept", accept)
    return left


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
async def test_accepting_recovers_when_descriptors_are_free_again(
    path: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock, number: int
) -> None:
    left = failing(monkeypatch, number, number, number)
    with capture_logs() as logs, bound(path) as listening:
        async with trio.open_nursery() as nursery:
            accepting = Accepting(listening, nursery)
            with connect(path):
                begun = trio.current_time()
                await accepting.accepted(1)
                assert trio.current_time() - begun == pytest.approx(0.3), "it neither spins nor sleeps long"
            nursery.cancel_scope.cancel()
        for socket in accepting.sockets:
            socket.close()
    assert left == []
    assert [entry["event"] for entry in logs] == ["accept_failed"], "one line for the whole shortage"
    expected = {errno.EMFILE: "LimitNOFILE", errno.ENFILE: "fs.file-max"}.get(number, os.strerror(number))
    assert expected in logs[0]["reason"]


async def test_each_shortage_is_logged_once(
    path: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    left = failing(monkeypatch)
    with capture_logs() as logs, bound(path) as listening:
        async with trio.open_nursery() as nursery:
            accepting = Accepting(listening, nursery)
            for count in (1, 2):
                left += [errno.EMFILE, errno.EMFILE]
                with connect(path):
                    await accepting.accepted(count)
            nursery.cancel_scope.cancel()
        for socket in accepting.sockets:
            socket.close()
    assert [entry["event"] for entry in logs] == ["accept_failed"] * 2


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EAGAIN, errno.EPROTO, errno.EPERM])
async def test_a_client_that_left_before_it_was_accepted_is_nothing(
    path: str, monkeypatch: pytest.MonkeyPatch, accepting: Accepting, number: int
) -> None:
    left = failing(monkeypatch, number)
    with capture_logs() as logs, connect(path), trio.fail_after(120):
        await accepting.accepted(1)
    assert left == []
    assert logs == []


# Bound again


async def bound_again(listening: Listener) -> None:
    """Wait until clients find it at its path again; by the clock of the test, which is no real one."""
    with trio.fail_after(1):
        while not listening.is_in_place:  # noqa: ASYNC110 - a file that is there again sets no event
            await trio.sleep(0.01)


async def test_a_socket_whose_file_is_removed_is_bound_again_within_a_second(
    path: str, autojump_clock: trio.testing.MockClock
) -> None:
    with capture_logs() as logs, bound(path) as listening:
        async with trio.open_nursery() as nursery:
            accepting = Accepting(listening, nursery)
            nursery.start_soon(listener.keep_bound, listening, accepting._serve)
            for count in (1, 2, 3):
                with connect(path):
                    await accepting.accepted(count)
                os.unlink(path)
                await bound_again(listening)
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
            assert refused(path).startswith("Another rkllmd"), "the lock is held as before"
            with connect(path):
                await accepting.accepted(4)
            nursery.cancel_scope.cancel()
        for socket in accepting.sockets:
            socket.close()
    assert [entry["event"] for entry in logs] == ["socket_bound_again"] * 3
    assert not os.path.exists(path), "the new one is removed at the end"
    assert not os.path.exists(f"{path}.lock")


async def test_who_had_found_the_old_socket_is_served(path: str, autojump_clock: trio.testing.MockClock) -> None:
    """A client may be waiting to be accepted when the file goes."""
    with bound(path) as listening:
        served: list[stdlib_socket.socket] = []
        with connect(path):
            os.unlink(path)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listener.keep_bound, listening, served.append)
                await bound_again(listening)
                nursery.cancel_scope.cancel()
            assert len(served) == 1
        served[0].close()


async def test_the_lock_is_taken_again_if_it_went_too(path: str, autojump_clock: trio.testing.MockClock) -> None:
    with bound(path) as listening:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.keep_bound, listening, lambda socket: socket.close())
            os.unlink(path)
            os.unlink(f"{path}.lock")
            await bound_again(listening)
            assert refused(path).startswith("Another rkllmd")
            nursery.cancel_scope.cancel()
    assert not os.path.exists(f"{path}.lock")


@pytest.mark.parametrize("what", ["a file", "another daemon", "no directory"])
async def test_what_is_in_the_way_is_said_once_and_left_alone(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, what: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = str(folder / "rkllm.sock")
    with capture_logs() as logs, bound(path) as listening, ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.keep_bound, listening, lambda socket: socket.close())
            os.unlink(path)
            if what == "a file":
                Path(path).write_text("precious")
            else:
                os.unlink(f"{path}.lock")
            if what == "another daemon":
                stack.enter_context(bound(path))
            if what == "no directory":
                folder.rmdir()
            await trio.sleep(10)
            assert not listening.is_in_place
            assert [entry["event"] for entry in logs] == ["socket_gone"]
            expected = {
                "a file": "another file is at its path",
                "another daemon": "rkllmd",
                "no directory": str(folder),
            }
            assert expected[what] in logs[0]["reason"]
            if what == "a file":
                assert Path(path).read_text() == "precious"
                os.unlink(path)
            elif what == "another daemon":
                assert connects(path), "the other one has it"
                stack.close()
            else:
                folder.mkdir()
            await bound_again(listening)
            nursery.cancel_scope.cancel()
    assert logs[-1]["event"] == "socket_bound_again"


async def test_a_socket_that_was_passed_on_is_not_bound_again(
    path: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    pass_on(monkeypatch, listening_at(path))
    listening = inherited(variables())
    assert listening is not None
    os.unlink(path)
    with trio.fail_after(10):
        await listener.keep_bound(listening, lambda socket: socket.close())
    assert not os.path.exists(path)
    assert listening.is_in_place
    listening.close()
