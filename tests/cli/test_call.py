"""``rkllmd call``: results on stdout, one sentence on stderr, never a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.cli.commands import COMMAND, run, sentence
from tests.daemon import Daemon


def test_call_prints_the_result_and_nothing_else(daemon: Daemon) -> None:
    done = run("call", "rkllm.get_kv_cache_size", "--socket", daemon.path)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert set(json.loads(line)) == {"success", "cache_sizes"}


def test_call_takes_the_socket_from_the_environment(daemon: Daemon) -> None:
    done = run("call", "rkllm.is_running", environ={"RKLLM_UDS_PATH": daemon.path})
    assert json.loads(done.stdout)["is_running"] is False


@pytest.mark.parametrize("params", ['{"prompt": "Grüße"}', '[{"prompt": "Grüße"}]', '[null, {"prompt": "Grüße"}]'])
def test_call_takes_parameters_from_the_command_line_and_from_stdin(daemon: Daemon, params: str) -> None:
    for done in (
        run("call", "rkllm.run", params, "--socket", daemon.path),
        run("call", "rkllm.run", "-", "--socket", daemon.path, stdin=params.encode()),
        run("call", "rkllm.run", params, "--socket", daemon.path, environ={"PYTHONIOENCODING": "ascii"}),
    ):
        assert json.loads(done.stdout)["text"] == "[user] Grüße", done.stderr


def test_call_prints_a_stream_line_by_line(daemon: Daemon) -> None:
    done = run("call", "rkllm.run_async", '{"prompt": "Hello"}', "--socket", daemon.path)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert "".join(result["text"] for result in results) == "[user] Hello"
    assert [result["_callback_state"] for result in results] == [0] * (len(results) - 1) + [2]
    whole = run("call", "rkllm.run_async", '{"prompt": "Hello"}', "--stream", "final", "--socket", daemon.path)
    assert json.loads(whole.stdout)["text"] == "[user] Hello"
    partial = run("call", "rkllm.run", '{"prompt": "Hello"}', "--stream", "partial", "--socket", daemon.path)
    assert len(partial.stdout.splitlines()) == len(results)


def test_call_has_the_members_beside_the_method_as_options(daemon: Daemon) -> None:
    members = ["--session", "kitchen", "--priority", "low"]
    for name in ("--timeout-ms", "--first-token-timeout-ms", "--run-timeout-ms", "--wait-timeout-ms"):
        members += [name, "60000"]
    done = run("call", "rkllm.run", '{"prompt": "Hello"}', *members, "--socket", daemon.path)
    assert json.loads(done.stdout)["session"] == {"name": "kitchen", "turns": 1, "replayed_turns": 0}
    wrong = run("call", "rkllm.run", '{"prompt": "Hello"}', "--timeout-ms", "0", "--socket", daemon.path)
    assert wrong.returncode == 1
    assert '"timeout_ms"' in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rkllm.rum"], "Method not found: There is no method 'rkllm.rum'. Did you mean rkllm.run? [MethodNotFound]"),
        (["rkllm.run"], "rkllm.run needs rkllm_input, or its fields directly, such as prompt. [InvalidParams]"),
        (
            ["rkllm.run", '[[{"prompt": "a"}, {"prompt": "b"}]]'],
            "The model was loaded with n_batch 1: rkllm_input must be one input. (at $[0]) [InvalidParams]",
        ),
        (
            ["rkllm.clear_kv_cache", '{"session": "kitchen"}'],
            "rkllm.clear_kv_cache has no parameter 'session'. "
            'The member "session" stands beside "method". On the command line it is --session. [InvalidParams]',
        ),
        (["rkllm.run", '{"prompt": 5}'], "$.prompt must be a string or null. [InvalidParams]"),
        (
            ["rkllm.run", '{"prompt": "a", "handle": 99}'],
            "There is no language model with handle 99; there is 1. [InvalidHandle]",
        ),
    ],
)
def test_an_error_is_a_sentence_with_its_kind(daemon: Daemon, arguments: list[str], told: str) -> None:
    done = run("call", *arguments, "--socket", daemon.path)
    assert done.stdout == ""
    assert sentence(done) == told


def test_an_error_of_the_runtime_shows_what_the_runtime_said(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="init=fail")
    done = run("call", "rkllm.init", json.dumps({"model_path": str(daemon.model)}), "--socket", daemon.path)
    assert (done.returncode, done.stdout) == (1, "")
    first, *lines = done.stderr.splitlines()
    assert first == "rkllmd: rkllm_init failed: E rkllm: rkllm_init failed [RuntimeError]"
    assert all(line.startswith("    ") for line in lines)
    assert any("Cannot allocate memory" in line for line in lines), "the line that says why"


def test_an_unusable_runtime_is_explained_with_the_fix(start: Callable[..., Daemon]) -> None:
    daemon = start(library=Path("/nowhere/librkllmrt.so"))
    told = sentence(run("call", "rkllm.createDefaultParam", "--socket", daemon.path))
    assert "There is no librkllmrt.so in /nowhere/librkllmrt.so." in told
    assert "Copy librkllmrt.so" in told
    assert told.endswith("[RuntimeUnavailable]")


@pytest.mark.parametrize("params", ["{", "{'prompt': 1}", "[1,]", "", "\udcff"])
def test_parameters_that_are_no_json(daemon: Daemon, params: str) -> None:
    told = sentence(run("call", "rkllm.run", params, "--socket", daemon.path))
    assert told.startswith("the parameters are not valid JSON: ")
    bad = sentence(run("call", "rkllm.run", "-", "--socket", daemon.path, stdin=b'{"prompt": "\xff"}'))
    assert bad.startswith("the parameters are not valid JSON: ")


def test_parameters_that_are_neither_array_nor_object(daemon: Daemon) -> None:
    assert sentence(run("call", "rkllm.run", "5", "--socket", daemon.path)).endswith("[InvalidRequest]")


def test_a_method_that_is_no_unicode(daemon: Daemon) -> None:
    assert sentence(run("call", "rkllm.\udcff", "--socket", daemon.path)).startswith("this can't be sent as JSON: ")


def test_a_replacement_that_fails_says_what_became_of_the_old_model(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="init=fail@2")
    handle = daemon.load()
    params = json.dumps({"model_path": str(daemon.model), "replace": True})
    done = run("call", "rkllm.init", params, "--socket", daemon.path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"    loaded again, with empty KV caches: {handle}"


NO_DAEMON = "No daemon serves {0}: start one with 'rkllmd serve', or name its socket with --socket."


@pytest.mark.parametrize("command", [["call", "server.status"], ["chat"]])
def test_no_daemon(tmp_path: Path, command: list[str]) -> None:
    path = str(tmp_path / "none.sock")
    assert sentence(run(*command, "--socket", path)) == NO_DAEMON.format(path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert sentence(run(*command, "--socket", path)) == NO_DAEMON.format(path), "a socket that nobody listens on"
    file = tmp_path / "file"
    file.touch()
    assert sentence(run(*command, "--socket", str(file))) == NO_DAEMON.format(file)
    for odd in (file / "below", "/tmp/" + 200 * "x"):
        told = sentence(run(*command, "--socket", str(odd)))
        assert told.startswith(f"'{odd}' can't be connected to (")
        assert told.endswith("name the socket with --socket.")


def test_no_permission(start: Callable[..., Daemon]) -> None:
    daemon = start()
    if os.geteuid() == 0:
        done = _run_as(65534, "call", "server.status", "--socket", daemon.path)  # root may connect to everything
    else:
        os.chmod(daemon.path, 0)
        done = run("call", "server.status", "--socket", daemon.path)
    told = sentence(done)
    assert told.startswith(f"You may not connect to {daemon.path}: ")
    assert "ls -l" in told


def _run_as(uid: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    # A first call imports everything: the interpreter's files may be readable by root only.
    script = (
        "import contextlib, io, os, sys; from rkllmd.cli.command import run\n"
        "with contextlib.redirect_stderr(io.StringIO()): run(['call', 'x', '--socket', '/nowhere'])\n"
        f"os.setgroups([]); os.setgid({uid}); os.setuid({uid}); sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, *arguments]
    # Not measured: that user may not write the figures.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)


@contextlib.contextmanager
def streaming(daemon: Daemon) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]]:
    """Give a command that prints a run without an end, its standard output and its standard error."""
    with subprocess.Popen(
        [*COMMAND, "call", "rkllm.run_async", '{"prompt": "Hi"}', "--socket", daemon.path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        yield process, process.stdout, process.stderr


def test_a_reader_that_leaves_is_no_error(start: Callable[..., Daemon]) -> None:
    """As in ``rkllmd call rkllm.run_async … | head -1``; the run ends with its reader."""
    daemon = start(scenario="text=ab;repeat=1000000000;pace_us=1000")
    daemon.load(max_new_tokens=0)
    with streaming(daemon) as (process, stdout, stderr):
        assert json.loads(stdout.readline())["text"] == "ab"
        stdout.close()
        assert process.wait(300) == 1
        assert stderr.read() == b""
    daemon.wait_finished()


def test_ctrl_c_ends_a_call_quietly(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="text=ab;repeat=1000000000;pace_us=1000")
    daemon.load(max_new_tokens=0)
    with streaming(daemon) as (process, stdout, stderr):
        stdout.readline()
        process.send_signal(signal.SIGINT)
        stdout.read()
        assert process.wait(300) == 130
        assert stderr.read() == b""
    daemon.wait_finished()
