"""Whose a job is, and whose what it makes: the user's, and the connection's that submitted it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.daemon import Start
from tests.server.jobs.submitting import ended, endless, look, result_of, submit
from tests.wire_connection import Wire, kind


def test_the_history_of_a_job_belongs_to_the_connection_that_submitted_it(start: Start) -> None:
    daemon = start(scenario="text=abcd")
    daemon.load()
    with daemon.connect() as wire, daemon.connect() as other:
        ended(wire, submit(wire, "rkllm.run", {"prompt": "secret", "keep_history": 1}))
        own = wire.ask("rkllm.run", {"prompt": "Hello", "keep_history": 1})["result"]
        assert "history_reset" not in own
        foreign = ended(other, submit(other, "rkllm.run", {"prompt": "Hello", "keep_history": 1}))
        assert foreign["result"]["history_reset"] is True


def test_what_a_job_makes_belongs_to_the_connection_that_submitted_it(start: Start) -> None:
    daemon = start()
    with daemon.connect() as other:
        with daemon.connect() as wire:
            made = ended(wire, submit(wire, "rknn.init", {"model_path": str(daemon.model)}))["result"]
            assert kind(wire.ask("rknn.run", {"context": made["context"], "outputs": True})) != "InvalidHandle"
            assert kind(other.ask("rknn.run", {"context": made["context"]})) == "NotYours"
        daemon.wait_enter("rknn_destroy")
        while other.ask("server.status")["result"]["contexts"]:
            pass


def test_what_a_job_makes_after_its_connection_has_gone_is_released_at_its_end(start: Start) -> None:
    daemon = start(scenario="delay.rkllm_init=500")
    with daemon.connect() as wire:
        submit(wire, "rkllm.init", {"model_path": str(daemon.model)})
        submit(wire, "rknn.init", {"model_path": str(daemon.model)})
        kept = submit(wire, "rknn.init", {"model_path": str(daemon.model), "keep": True})
    with daemon.connect() as other:
        found = result_of(other, kept)
        daemon.wait_enter("rknn_destroy")
        other.ask("rknn.run", {"context": found["context"], "outputs": True})
        contexts = other.ask("server.status")["result"]["contexts"]
        assert [item["context"] for item in contexts] == [found["context"]]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be another user")
def test_a_job_is_its_users(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = endless(start)
    with daemon.connect() as wire:
        monkeypatch.chdir(daemon.directory)  # the way there may be closed to others
        os.chmod(daemon.directory, 0o711)
        os.chmod(daemon.path, 0o666)
        os.seteuid(65534)
        try:
            stranger = Wire(Path(daemon.path).name)
        finally:
            os.seteuid(0)
        with stranger:
            job = submit(wire, "rkllm.run", {"prompt": "Hello"})
            theirs = submit(stranger, "rkllm.run", {"prompt": "Hello"})
            assert look(stranger, job) == {"status": "not_found"}
            assert look(wire, theirs) == {"status": "not_found"}, "root is another user as well"
            assert stranger.ask("server.cancel", {"job": job})["result"] == {"cancelled": False}
            assert stranger.ask("server.pause", {"job": job})["result"] == {"paused": False}
            stranger.ask("server.watch", {"events": ["job"]})
            wire.ask("server.cancel", {"job": job})
            ended(wire, job)
            stranger.request("server.cancel", {"job": theirs}, "cancel")
            while (message := stranger.receive()).get("method") != "server.event":
                pass
            assert message["params"]["job"] == theirs, "the news of another user's job did not come"
