"""What the daemon's life hangs on; that it ends with its terminal or its parent is in tests/server/lifetime."""

from __future__ import annotations

import os
import signal

import pytest

from rkllmd.machine import lifetime


@pytest.mark.parametrize("setting", [lifetime.NOTHING, lifetime.TERMINAL, lifetime.PARENT])
def test_a_setting_decides(setting: str) -> None:
    assert lifetime.decide(setting) == setting


@pytest.mark.parametrize(
    ("on_terminal", "hangup", "decided"),
    [
        (True, signal.SIG_DFL, lifetime.TERMINAL),
        (True, signal.SIG_IGN, lifetime.NOTHING),
        (False, signal.SIG_DFL, lifetime.NOTHING),
    ],
    ids=["terminal", "nohup", "service"],
)
def test_left_alone_it_depends_on_how_it_was_started(
    monkeypatch: pytest.MonkeyPatch, on_terminal: bool, hangup: signal.Handlers, decided: str
) -> None:
    monkeypatch.setattr(os, "isatty", lambda fd: on_terminal and fd == 2)
    monkeypatch.setattr(signal, "getsignal", lambda number: hangup)
    assert lifetime.decide("auto") == decided
