"""A client that is wholly gone costs no NPU time and leaves nothing behind (protocol, section 1)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.daemon import ENDLESS, Daemon, Start, until
from tests.wire_connection import kind, streamed

# For the long run: RKLLMD_KILL_ROUNDS=1000 kills 8000 clients.
KILL_ROUNDS = int(os.environ.get("RKLLMD_KILL_ROUNDS", "4"))
CLIENTS = 8

# Connects, asks for an endless stream and says so on stdout when the request is sent; then reads for ever.
CLIENT = """
import socket, sys
wire = socket.socket(socket.AF_UNIX)
wire.connect(sys.argv[1])
wire.sendall(b'{"jsonrpc":"2.0","id":1,"method":"rkllm.run_async","params":{"prompt_input":"Hello"}}\\n'
             b'{"jsonrpc":"2.0","id":2,"method":"server.queue"}\\n')
seen = b""
while b'"id":2' not in seen:
    seen = seen[-64:] + wire.recv(65536)
print("sent", flush=True)
while wire.recv(65536):
    pass
"""


def test_full_close_during_prefill_aborts_at_once(start: Start) -> None:
    daemon = start(scenario="prefill_ms=600000;prefill_abort=1", changing=True)
    daemon.load()
    with daemon.connect() as other:
        with daemon.connect() as wire:
            wire.request("rkllm.run_async", {"prompt_input": "Hello"})
            daemon.wait_enter("rkllm_run_async")
            assert other.ask("server.status")["result"]["state"] == "running"
        daemon.play()
        assert "result" in other.ask("rkllm.run", {"prompt_input": "next"}), "the NPU is free for the next client"
        until("only the next client is there", lambda: other.ask("server.status")["result"]["clients"] == 1)
        assert other.ask("server.status")["result"]["state"] == "idle"
    assert daemon.calls("rkllm_abort") == 1


def test_full_close_during_a_stream_aborts_it(start: Start) -> None:
    daemon = start(scenario=ENDLESS, changing=True)
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt_input": "Hello"})
        assert wire.receive()["result"]["seq"] == 0
    daemon.wait_finished()
    daemon.play(text="quantum")
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt_input": "next"})
        assert streamed(wire.until_final(1)) == "quantum", "the next client gets its own whole answer"


def test_a_run_that_answers_at_the_end_is_aborted_too(start: Start) -> None:
    daemon = start(scenario=ENDLESS)
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire:
        wire.request("rkllm.run", {"prompt_input": "Hello"})
        daemon.wait_enter("rkllm_run")
    daemon.wait_for("the end of rkllm_run", lambda: daemon.calls("rkllm_run", "leave") == 1)


def test_queued_calls_of_a_client_that_left_never_reach_the_runtime(start: Start) -> None:
    daemon = start("--log-level", "3", scenario=ENDLESS, changing=True)
    daemon.load(max_new_tokens=0)
    with daemon.connect() as first, daemon.connect() as last:
        first.request("rkllm.run_async", {"prompt_input": "first"}, 1)
        assert first.receive()["result"]["seq"] == 0
        daemon.play(text="short")
        gone = len(daemon.events("client_gone"))
        with daemon.connect() as leaver:
            for number in range(5):
                leaver.request("rkllm.run_async", {"prompt_input": "left"}, number)
            assert leaver.ask("server.queue", None, "queue")["result"]["length"] == 5
        last.request("rkllm.run_async", {"prompt_input": "last"}, 1)
        daemon.wait_event("client_gone", gone + 1)
        assert last.ask("server.queue", None, "queue")["result"]["length"] == 1, "only the last client waits"
        first.request("server.cancel", {"id": 1}, 2)
        assert first.final(1)["result"]["finish_reason"] == "abort"
        assert streamed(last.until_final(1)) == "short"
    assert daemon.calls("rkllm_run_async") == 2


def test_a_load_goes_on_when_its_client_leaves(start: Start) -> None:
    daemon = start("--log-level", "3", scenario="hold.rkllm_init=1")
    with daemon.connect() as wire:
        wire.request("rkllm.init", {"model_path": str(daemon.model)})
        daemon.wait_enter("rkllm_init")
    daemon.wait_event("client_gone")
    daemon.let_go()
    daemon.wait_event("model_loaded")
    with daemon.connect() as wire:
        assert "result" in wire.ask("rkllm.run", {"prompt_input": "Hello"}), "it is there for the next client"


def test_a_client_that_closes_with_unread_answers_is_only_its_own_loss(start: Start) -> None:
    daemon = start("--log-level", "3")
    with daemon.connect() as other:
        with daemon.connect() as wire:
            wire.send(b'{"jsonrpc":"2.0","id":null,"method":"rpc.discover"}\n' * 200)
        daemon.wait_event("client_gone")
        assert kind(other.ask("server.queue")) is None


def test_kill_9_of_clients_mid_stream_leaves_nothing_behind(start: Start) -> None:
    daemon = start("--log-level", "3", scenario=ENDLESS)
    daemon.load(max_new_tokens=0)

    def kill_all(gone_before: int) -> None:
        clients = [
            subprocess.Popen([sys.executable, "-S", "-c", CLIENT, daemon.path], stdout=subprocess.PIPE)
            for _ in range(CLIENTS)
        ]
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == b"sent\n"
        for client in clients:
            client.send_signal(signal.SIGKILL)
        for client in clients:
            client.communicate()
        daemon.wait_event("client_gone", gone_before + CLIENTS)
        daemon.wait_for("as many runs finished as begun", lambda: _begun(daemon) == _finished(daemon))

    kill_all(1)
    files, threads = daemon.settled()
    for number in range(1, KILL_ROUNDS + 1):
        kill_all(2 + number * CLIENTS)  # and the one that asked whether it has settled
    until("no descriptor is left open", lambda: daemon.open_files() == files)
    until("no thread is left", lambda: daemon.threads() <= threads)
    with daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt_input": "Hello"}, 1)
        assert wire.receive()["result"]["seq"] == 0, "the next client is served"
        assert wire.ask("server.cancel", {"id": 1}, 2)["result"] == {"cancelled": True}


def _begun(daemon: Daemon) -> int:
    return daemon.calls("rkllm_run_async")


def _finished(daemon: Daemon) -> int:
    return daemon.calls("rkllm_run_async", "finished")
