"""A model that has lost its cross-attention says so, and answers nothing until it is set again."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, Start
from tests.language.models.loads import models, say
from tests.wire_connection import Wire, kind

# As the simulator reads it: one layer of one head, 8 wide.
CROSS = {
    "encoder_k_cache": [1.0] * 8,
    "encoder_v_cache": [2.0] * 8,
    "encoder_mask": [1],
    "encoder_pos": [9],
}
WITH, WITHOUT = "[cross n=1 k=8 v=16 mask=1 pos=9] [user] Hi", "[user] Hi"


def state(wire: Wire) -> Any:
    (model,) = models(wire)
    return model["cross_attention"]


def crash(daemon: Daemon, wire: Wire) -> None:
    os.kill(wire.ask("server.status")["result"]["daemon_pid"], signal.SIGSEGV)
    assert wire.receive() is None


# A model that nobody loads: the daemon looks for idle ones as often as its limit wants, and not once a minute.
OTHER = '[models.other]\nmodel_path = "/other.rkllm"\nidle_minutes = 0.001\n'


def sleep(daemon: Daemon, wire: Wire) -> None:
    """Have it unloaded, and then no more."""
    config = daemon.directory / "rkllmd.toml"
    for count, minutes in enumerate((0.0001, 0), 1):
        config.write_text(f"model_idle_minutes = {minutes}\n{OTHER}")
        os.kill(wire.ask("server.status")["result"]["daemon_pid"], signal.SIGHUP)
        daemon.wait_event("reloaded", count)
        daemon.wait_event("model_asleep")


@pytest.mark.parametrize("lose", [crash, sleep])
def test_it_is_not_lost_silently(start: Start, tmp_path: Path, lose: Any) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "rkllmd.toml").write_text(OTHER)
    files = ("--state-directory", str(tmp_path / "state"), "--config", str(tmp_path / "rkllmd.toml"))
    daemon = start(*files, directory=tmp_path, keeper=True, scenario="embd=8")
    daemon.load(extend_param={"use_cross_attn": 1})
    with daemon.connect() as wire:
        assert state(wire) is None
        assert say(wire) == WITHOUT
        assert "result" in wire.ask("rkllm.set_cross_attn_params", CROSS)
        assert say(wire) == WITH
        assert state(wire) == "set"
        lose(daemon, wire)
    with daemon.connect() as wire:
        for method in ("rkllm.run", "rkllm.run_async"):
            refused = wire.ask(method, {"prompt": "Hi"})
            assert kind(refused) == "ModelNotInitialized"
            assert "rkllm.set_cross_attn_params" in refused["error"]["message"]
        assert state(wire) == "lost"
        assert "result" in wire.ask("rkllm.set_cross_attn_params", CROSS)
        assert say(wire) == WITH
        assert state(wire) == "set"
