"""Fixtures for all tests."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.daemon import SEEN_SECONDS, Daemon, starter
from tests.nursery import forking

# No test asserts the clock, and on a busy machine an example may take as long as it likes.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# A shell without job control starts what is in the background with Ctrl-C ignored, and nohup ignores hangups: commands
# would inherit that.
if threading.current_thread() is threading.main_thread():
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _nursery() -> Iterator[None]:
    """Let daemons be forked from a process that has imported their modules once."""
    with forking.allowed():
        yield


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons: ``start(*arguments, scenario=…, version=…)``.

    At the end of the test they are stopped, and none may have had a fault: no complaint of the simulator, no overlap
    of NPU calls, no unexpected exception.
    """
    with starter(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def start_for_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Daemon]]:
    """Start daemons that serve all tests of a module."""
    with starter(tmp_path_factory.mktemp("module")) as start:
        yield start


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Play the service manager: its end of NOTIFY_SOCKET, at ``notify`` in the test's folder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "notify"))
        found.settimeout(SEEN_SECONDS)
        yield found
