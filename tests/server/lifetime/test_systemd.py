"""What the service manager relies on: an inherited socket and messages about the state (sd_listen_fds, sd_notify)."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rkllmd.keeper.ties import CANNOT_START
from rkllmd.service.startup import EXTENSION_SECONDS
from tests.daemon import SEEN_SECONDS, Daemon, Start
from tests.inherited_socket import SHIM
from tests.wire_connection import Wire, kind


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(tmp_path / "inherited.sock"))
        found.listen(100)
        yield found


def inherit(start: Start, found: socket.socket, **options: object) -> Daemon:
    launcher = (sys.executable, "-c", SHIM, str(found.fileno()))
    return start(launcher=launcher, pass_fds=(found.fileno(),), **options)


def message(manager: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in manager.recv(4096).decode().splitlines())


def test_an_inherited_socket_is_served_and_left_behind(start: Start, listening: socket.socket) -> None:
    path = listening.getsockname()
    with Wire(path) as early:  # connected before there is a daemon: waits in the backlog
        early.request("server.queue")
        daemon = inherit(start, listening)
        assert kind(early.final(1)) is None
    with Wire(path) as wire:
        assert kind(wire.ask("server.queue")) is None
    assert not Path(daemon.path).exists(), "it overrides --socket"
    assert not Path(f"{path}.lock").exists(), "the socket is the service manager's: no lock"
    assert daemon.stop() == 0
    assert Path(path).is_socket(), "it must not be unlinked"
    with Wire(path) as wire:
        wire.request("server.queue")
        second = inherit(start, listening)
        assert kind(wire.final(1)) is None, "the next daemon serves who came meanwhile"
    assert second.stop() == 0


def test_an_inherited_descriptor_that_is_no_listening_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as wrong:
        launcher = (sys.executable, "-c", SHIM, str(wrong.fileno()))
        daemon = Daemon(tmp_path, launcher=launcher, pass_fds=(wrong.fileno(),))
        assert daemon.wait_end() == CANNOT_START
        daemon.stop()
    assert daemon.log().startswith("rkllmd: Descriptor 3 ")
    assert len(daemon.log().splitlines()) == 1


def test_variables_meant_for_another_process_are_ignored(start: Start) -> None:
    daemon = start(environ={"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    with daemon.connect() as wire:
        assert kind(wire.ask("server.queue")) is None


def test_the_service_manager_is_told_every_change(start: Start, manager: socket.socket) -> None:
    daemon = start(environ={"NOTIFY_SOCKET": manager.getsockname()})
    ready = message(manager)
    assert ready["READY"] == "1"
    assert daemon.path in ready["STATUS"]
    daemon.process.send_signal(signal.SIGHUP)
    reloading = message(manager)
    assert reloading["RELOADING"] == "1"
    assert int(reloading["MONOTONIC_USEC"]) > 0, "Type=notify-reload needs it"
    assert message(manager)["READY"] == "1"
    assert daemon.stop() == 0
    assert message(manager)["STOPPING"] == "1"


def test_ready_means_that_clients_are_served(start: Start, manager: socket.socket, tmp_path: Path) -> None:
    """Not that a model is loaded, which may take minutes."""
    model = tmp_path / "big.rkllm"
    model.touch()
    daemon = start(
        "--model", str(model), scenario="hold.rkllm_init=1", environ={"NOTIFY_SOCKET": manager.getsockname()}
    )
    assert message(manager)["READY"] == "1"
    with daemon.connect() as wire:
        status = wire.ask("server.status")["result"]
        assert (status["state"], status["models"]) == ("loading", [])
    daemon.let_go()
    daemon.wait_event("model_loaded")


def test_a_model_that_takes_long_extends_the_start(start: Start, manager: socket.socket, tmp_path: Path) -> None:
    """By its keeper, from which alone the manager takes messages."""
    model = tmp_path / "big.rkllm"
    model.touch()
    environ = {"NOTIFY_SOCKET": manager.getsockname()}
    daemon = start("--model", str(model), keeper=True, scenario="hold.rkllm_init=1", environ=environ)
    assert message(manager)["READY"] == "1"
    for _ in range(2):
        assert message(manager) == {"EXTEND_TIMEOUT_USEC": f"{EXTENSION_SECONDS * 1_000_000}"}
    daemon.let_go()
    daemon.wait_event("model_loaded")


def test_an_abstract_notify_socket_and_one_that_is_gone(start: Start) -> None:
    name = f"rkllmd-test-{os.getpid()}-{id(start)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(SEEN_SECONDS)
        daemon = start(environ={"NOTIFY_SOCKET": f"@{name}"})
        assert message(manager)["READY"] == "1"
    assert daemon.stop() == 0, "a manager that does not listen any more is no reason to fail"
