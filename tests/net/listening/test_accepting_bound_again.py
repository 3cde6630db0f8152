"""A socket whose file is gone is bound again."""

from __future__ import annotations

import os
import socket as stdlib_socket
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from rkllmd.net.listening.accepting import keep_bound
from rkllmd.net.listening.listener import Listener, inherited
from tests.net.listening.sockets import Accepting, bound, connect, connects, listening_at, pass_on, refused, variables


async def bound_again(listening: Listener) -> None:
    """Wait until clients find it at its path again; by the clock of the test, which is no real one."""
    with trio.fail_after(1.5):
        while not listening.is_in_place:  # noqa: ASYNC110 - a file that is there again sets no event
            await trio.sleep(0.01)


async def test_a_socket_whose_file_is_removed_is_bound_again_within_a_second(
    path: str, autojump_clock: trio.testing.MockClock
) -> None:
    with capture_logs() as logs, bound(path) as listening:
        async with trio.open_nursery() as nursery:
            accepting = Accepting(listening, nursery)
            nursery.start_soon(keep_bound, listening, accepting._serve)
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
                nursery.start_soon(keep_bound, listening, served.append)
                await bound_again(listening)
                nursery.cancel_scope.cancel()
            assert len(served) == 1
        served[0].close()


async def test_the_lock_is_taken_again_if_it_went_too(path: str, autojump_clock: trio.testing.MockClock) -> None:
    with bound(path) as listening:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_bound, listening, lambda socket: socket.close())
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
            nursery.start_soon(keep_bound, listening, lambda socket: socket.close())
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
        await keep_bound(listening, lambda socket: socket.close())
    assert not os.path.exists(path)
    assert listening.is_in_place
    listening.close()
