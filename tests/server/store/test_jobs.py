"""Jobs outlive the daemon: what had not begun is done, what had begun is told, what was not read can be read."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import ENDLESS, UNMEASURED, Daemon, Start
from tests.server.jobs.submitting import done_so_far, ended, look, result_of, submit
from tests.store.stores import file_of
from tests.wire_connection import Wire, kind

HELLO = {"prompt": "Hello"}


class Board:
    """One place in which daemons come and go: the same model, the same state."""

    def __init__(self, start: Start, directory: Path) -> None:
        self.state = directory / "state"
        self.state.mkdir()
        self.model = directory / "board.rkllm"
        self.model.touch()
        self._start = start

    def start(self, *arguments: str, **options: Any) -> Daemon:
        """Start a daemon there."""
        return self._start("--state-directory", str(self.state), *arguments, **options)

    def endless(self, *arguments: str) -> Daemon:
        """Start a daemon that has the model, which never comes to an end."""
        daemon = self.start(*arguments, scenario=ENDLESS)
        with daemon.connect() as wire:
            wire.ask("rkllm.init", {"model_path": str(self.model), "max_new_tokens": 0})
        return daemon


@pytest.fixture
def board(start: Start, tmp_path: Path) -> Board:
    return Board(start, tmp_path)


def killed(daemon: Daemon) -> None:
    """Kill it with SIGKILL, as the kernel does when memory is short."""
    daemon.stop(signal.SIGKILL)


def begun(wire: Wire, job: str) -> None:
    while not done_so_far(wire, job).get("tokens"):
        pass


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_what_had_not_begun_is_done_by_the_next_daemon_in_its_order(board: Board, end: int) -> None:
    daemon = board.endless()
    with daemon.connect() as wire:
        begun(wire, submit(wire, "rkllm.run", HELLO))
        waiting = [submit(wire, "rkllm.run", {"prompt": f"job {number}"}) for number in range(5)]
        assert [look(wire, job)["status"] for job in waiting] == ["queued"] * 5
    daemon.stop(end)
    after = board.start(scenario="delay.rkllm_init=100")
    with after.connect() as wire:
        assert [result_of(wire, job)["text"] for job in waiting] == [f"[user] job {n}" for n in range(5)]
        (model,) = wire.ask("server.status")["result"]["models"]
        assert (model["model_path"], model["state"]) == (str(board.model), "loaded"), "its model is what it was"
    assert (after.calls("rkllm_run"), after.calls("rkllm_init")) == (5, 1)


def test_what_had_begun_is_told_and_not_done_again(board: Board) -> None:
    daemon = board.endless()
    with daemon.connect() as wire:
        job = submit(wire, "rkllm.run", HELLO)
        begun(wire, job)
    killed(daemon)
    after = board.start()
    with after.connect() as wire:
        found = look(wire, job)
        assert (found["status"], found["method"], kind(found)) == ("error", "rkllm.run", "Crashed")
        assert found["error"]["data"]["begun"] == 1
        assert "retry" in found["error"]["message"]
    assert after.calls("rkllm_run") == 0


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_with_retry_it_begins_once_more_and_no_more(board: Board, end: int) -> None:
    daemon = board.endless()
    with daemon.connect() as wire:
        answer = wire.ask("server.submit", {"method": "rkllm.run", "params": HELLO, "retry": True})
        job = answer["result"]["job"]
        begun(wire, job)
    daemon.stop(end)
    again = board.start(scenario=ENDLESS)
    with again.connect() as wire:
        begun(wire, job)
    killed(again)
    after = board.start()
    with after.connect() as wire:
        found = look(wire, job)
        assert (kind(found), found["error"]["data"]["begun"]) == ("Crashed", 2)


def test_a_second_attempt_may_succeed(board: Board) -> None:
    daemon = board.endless()
    with daemon.connect() as wire:
        job = wire.ask("server.submit", {"method": "rkllm.run", "params": HELLO, "retry": True})["result"]["job"]
        begun(wire, job)
    killed(daemon)
    with board.start().connect() as wire:
        assert result_of(wire, job)["text"] == "[user] Hello"


def test_what_was_cancelled_is_not_begun_again(board: Board) -> None:
    daemon = board.endless()
    with daemon.connect() as wire:
        running = wire.ask("server.submit", {"method": "rkllm.run", "params": HELLO, "retry": True})["result"]["job"]
        begun(wire, running)
        waiting = submit(wire, "rkllm.run", HELLO)
        for job in (waiting, running):
            assert wire.ask("server.cancel", {"job": job})["result"] == {"cancelled": True}
        ended(wire, running)
    daemon.stop()
    with board.start().connect() as wire:
        assert look(wire, running)["result"]["finish_reason"] == "abort"
        assert look(wire, waiting)["error"]["data"]["kind"] == "Cancelled"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_result_that_nobody_has_read_can_be_read(board: Board, end: int) -> None:
    daemon = board.start(scenario="text=abcd")
    daemon.load()
    with daemon.connect() as wire:
        job = submit(wire, "rkllm.run", HELLO)
        failed = submit(wire, "rkllm.load_lora", {"lora_adapter_path": str(daemon.model), "scale": 1})
        forgotten = submit(wire, "rkllm.run", HELLO)
        found, error = ended(wire, job), ended(wire, failed)
        ended(wire, forgotten)
        look(wire, forgotten, forget=True)
        # Behind it, what was given before is written.
        submit(wire, "rkllm.run", HELLO)
    daemon.stop(end)
    after = board.start()
    with after.connect() as wire:
        assert look(wire, job) == found
        assert look(wire, failed) == error
        assert look(wire, forgotten) == {"status": "not_found"}
        assert look(wire, job, forget=True) == found
    after.stop()
    with board.start().connect() as wire:
        assert look(wire, job) == {"status": "not_found"}


def test_the_run_that_is_cut_by_a_stop_has_the_result_so_far(board: Board) -> None:
    daemon = board.endless()
    with daemon.connect() as wire:
        job = submit(wire, "rkllm.run", HELLO)
        begun(wire, job)
    daemon.stop()
    with board.start().connect() as wire:
        found = look(wire, job)
        assert (found["status"], found["result"]["finish_reason"]) == ("completed", "abort")
        assert found["result"]["text"].startswith("ab")


def test_a_job_for_what_goes_with_the_daemon_says_so(board: Board) -> None:
    daemon = board.endless("--between-tokens", "never")
    with daemon.connect() as wire:
        made = wire.ask("rknn.init", {"model_path": str(daemon.model), "keep": True})["result"]
        begun(wire, submit(wire, "rkllm.run", HELLO))
        bound = submit(wire, "rknn.run", {"context": made["context"], "outputs": True})
        load = submit(wire, "rknn.init", {"model_path": str(daemon.model), "keep": True})
        later = submit(wire, "rknn.dup_context", {})
    killed(daemon)
    with board.start().connect() as wire:
        found = look(wire, bound)
        assert (kind(found), found["error"]["data"]["begun"]) == ("Crashed", 0)
        assert kind(ended(wire, load)) is None
        assert kind(ended(wire, later)) is None, "it was for what the load before it makes"


def test_only_its_user_reads_it_and_no_id_is_taken(board: Board) -> None:
    daemon = board.start(scenario="text=ab")
    daemon.load()
    with daemon.connect() as wire:
        job = submit(wire, "rkllm.run", HELLO)
        ended(wire, job)
    daemon.stop()
    content = file_of(board.state).read_bytes()
    assert b'"ab"' in content
    with board.start().connect() as wire:
        assert look(wire, job)["status"] == "completed"
        assert look(wire, "x" * len(job)) == {"status": "not_found"}


def test_members_and_long_tensors_are_as_they_were(board: Board) -> None:
    daemon = board.endless()
    prompt = "aGVsbG8h" * 15_000
    with daemon.connect() as wire:
        begun(wire, submit(wire, "rkllm.run", HELLO))
        job = submit(wire, "rkllm.run", {"prompt": prompt}, session="talk", priority="low")
    killed(daemon)
    with board.start().connect() as wire:
        result = result_of(wire, job)
        assert result["text"] == f"[user] {prompt}"
        assert result["session"]["name"] == "talk"


def test_a_conversation_that_was_lost_is_told(board: Board) -> None:
    daemon = board.endless()
    with daemon.connect() as wire:
        begun(wire, submit(wire, "rkllm.run", HELLO))
        turns = [submit(wire, "rkllm.run", {"prompt": str(number), "keep_history": 1}) for number in range(2)]
    killed(daemon)
    with board.start().connect() as wire:
        results = [result_of(wire, job) for job in turns]
        assert [result.get("history_reset") for result in results] == [True, None], "and goes on from there"


def test_what_is_configured_and_what_jobs_wait_for(board: Board, tmp_path: Path) -> None:
    other = tmp_path / "other.rkllm"
    other.touch()
    daemon = board.endless()
    with daemon.connect() as wire:
        begun(wire, submit(wire, "rkllm.run", HELLO))
        job = submit(wire, "rkllm.run", HELLO)
    killed(daemon)
    after = board.start("--model", str(other), scenario="delay.rkllm_init=100")
    with after.connect() as wire:
        assert result_of(wire, job)["text"] == "[user] Hello"
        assert [model["model_path"] for model in wire.ask("server.status")["result"]["models"]] == [str(board.model)]
    assert "calls wait for another one" in after.wait_event("model_not_loaded")[0]["error"]["message"]


def test_a_configured_model_that_comes_back_is_loaded_once(board: Board) -> None:
    daemon = board.start("--model", str(board.model), scenario=ENDLESS)
    with daemon.connect() as wire:
        begun(wire, submit(wire, "rkllm.run", HELLO))
        job = submit(wire, "rkllm.run", HELLO)
    killed(daemon)
    after = board.start("--model", str(board.model))
    with after.connect() as wire:
        assert result_of(wire, job)["text"] == "[user] Hello"
        wire.ask("rkllm.run", HELLO)
    assert after.calls("rkllm_init") == 1


def test_a_model_whose_file_has_gone_is_the_jobs_error(board: Board) -> None:
    daemon = board.start(scenario=ENDLESS)
    elsewhere = daemon.model.with_name("gone.rkllm")
    elsewhere.touch()
    with daemon.connect() as wire:
        wire.ask("rkllm.init", {"model_path": str(elsewhere), "max_new_tokens": 0})
        begun(wire, submit(wire, "rkllm.run", HELLO))
        job = submit(wire, "rkllm.run", HELLO)
    killed(daemon)
    elsewhere.unlink()
    after = board.start()
    with after.connect() as wire:
        assert kind(look(wire, job)) == "InvalidHandle"
    assert after.events("model_not_brought_back")


def test_adapters_templates_and_tools_come_back_with_the_model(board: Board) -> None:
    daemon = board.endless()
    with daemon.connect() as wire:
        wire.ask("rkllm.load_lora", {"lora_adapter_path": str(daemon.model), "lora_adapter_name": "voice"})
        wire.ask("rkllm.set_chat_template", [None, "S", "<U>", "<E>"])
        wire.ask("rkllm.set_function_tools", {"tools": [{"type": "function", "function": {"name": "f"}}]})
        begun(wire, submit(wire, "rkllm.run", HELLO))
        job = submit(wire, "rkllm.run", HELLO)
    killed(daemon)
    after = board.start()
    with after.connect() as wire:
        ended(wire, job)
        (model,) = wire.ask("server.status")["result"]["models"]
        assert (model["lora_adapters"], model["chat_template"]) == (["voice"], "set")
    for function in ("rkllm_load_lora", "rkllm_set_chat_template", "rkllm_set_function_tools"):
        assert after.calls(function) == 1


def test_without_jobs_a_new_daemon_begins_empty(board: Board) -> None:
    daemon = board.start()
    daemon.load()
    killed(daemon)
    with board.start().connect() as wire:
        assert wire.ask("server.status")["result"]["models"] == []


def test_a_job_that_can_not_be_kept_is_not_promised(board: Board) -> None:
    board.start().stop()
    limit = 'ulimit -f 256; exec "$@"'  # blocks of 512 bytes
    daemon = board.start(scenario="text=ab", launcher=[*UNMEASURED, "sh", "-c", limit, "sh"])
    daemon.load(max_context_len=1024)
    with daemon.connect() as wire:
        prompt = "x" * 200_000
        refused = wire.ask("server.submit", {"method": "rkllm.run", "params": {"prompt": prompt}})
        assert kind(refused) == "NotKept"
        assert refused["error"]["data"]["reason"]
        assert wire.ask("rkllm.run", HELLO)["result"]["text"] == "ab", "a call over a connection does not fail"
        while wire.ask("server.status")["result"]["current"] is not None:
            pass
        job = submit(wire, "rkllm.run", HELLO)
        assert result_of(wire, job)["text"] == "ab", "and there is room for a small one"
