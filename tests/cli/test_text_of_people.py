"""What a person types and sees that is no text: undecodable input, terminals of another encoding."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import run_raw
from tests.cli.terminal import Terminal, on_terminal
from tests.daemon import Daemon

UTF8 = {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}


NOT_UTF8 = (
    "this line has a byte that is not UTF-8, 0xe9 after 'caf': convert the text first, for example with "
    "iconv -f latin1 -t utf-8."
)


@pytest.mark.parametrize("environ", [UTF8, {"LC_ALL": "C"}])
def test_piped_text_that_is_not_utf8_ends_a_chat_with_a_sentence(daemon: Daemon, environ: dict[str, str]) -> None:
    done = run_raw("chat", "--socket", daemon.path, stdin=b"Hello\ncaf\xe9\nAnd now?\n", **environ)
    assert done.returncode == 1
    assert done.stdout == b"[user] Hello\n", "what stands before it is answered"
    assert done.stderr.decode() == f"rkllmd: {NOT_UTF8}\n"


def test_a_chat_goes_on_after_typed_text_that_is_not_utf8(daemon: Daemon) -> None:
    """What readline takes for no character it may leave out; what it lets through is refused."""
    person = Terminal("chat", "--socket", daemon.path, **UTF8)
    try:
        person.expect("> ")
        os.write(person.master, b"caf\xe9\n")
        person.type("Hello\n")
        person.expect("[user] Hello\n")
        person.expect("> ")
    finally:
        person.close()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["chat", "--session", "\udcff"], "this can't be sent as JSON: "),
        (["call", "rkllm.run", '{"prompt": "a"}', "--session", "\udcff"], "this can't be sent as JSON: "),
        (["help", "\udcff"], "there is no method '"),
    ],
)
def test_arguments_that_are_not_utf8(daemon: Daemon, arguments: list[str], told: str) -> None:
    done = run_raw(*arguments, "--socket", daemon.path, stdin=b"Hello\n", **UTF8)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"rkllmd: {told}")
    assert len(done.stderr.splitlines()) == 1


def test_a_socket_whose_name_is_not_utf8(daemon: Daemon, tmp_path: Path) -> None:
    """Names of files are bytes."""
    odd = os.fsencode(tmp_path) + b"/caf\xe9.sock"
    os.symlink(daemon.path, odd)
    done = run_raw("call", "server.queue", "--socket", os.fsdecode(odd), stdin=b"", **UTF8)
    assert (done.returncode, done.stderr) == (0, b"")
    missing = run_raw("stop", "--socket", os.fsdecode(odd) + ".none", PYTHONIOENCODING="ascii")
    assert missing.stderr.startswith(b"rkllmd: No daemon serves ")
    assert len(missing.stderr.splitlines()) == 1


def test_output_to_an_encoding_without_the_character(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="text=Grüße")
    daemon.load()
    piped = run_raw("call", "rkllm.run", '{"prompt": "Hello"}', "--socket", daemon.path, PYTHONIOENCODING="ascii")
    assert json.loads(piped.stdout)["text"] == "Grüße", "JSON in a pipe is UTF-8 whatever the terminal is"
    seen = on_terminal("call", "rkllm.run", '{"prompt": "Hello"}', "--socket", daemon.path, PYTHONIOENCODING="ascii")
    assert '"Gr\\u00fc\\u00dfe"' in seen
