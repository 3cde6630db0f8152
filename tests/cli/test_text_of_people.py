"""What a person types and sees: undecodable input, terminals of another encoding, JSON and help made to be read."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.calls import discovery, registry
from rkllmd.calls.binding.params import bind
from rkllmd.cli import method_help
from rkllmd.cli.terminal import Printer, takes_colours
from tests.cli.commands import COMMAND
from tests.cli.terminal import Terminal
from tests.daemon import Daemon

UTF8 = {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}


def run(*arguments: str, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
    variables = {**os.environ, **environ}
    return subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, env=variables, timeout=300, check=False
    )


# -- what is no text ---------------------------------------------------------------------------------------------------

NOT_UTF8 = (
    "this line has a byte that is not UTF-8, 0xe9 after 'caf': convert the text first, for example with "
    "iconv -f latin1 -t utf-8."
)


@pytest.mark.parametrize("environ", [UTF8, {"LC_ALL": "C"}])
def test_piped_text_that_is_not_utf8_ends_a_chat_with_a_sentence(daemon: Daemon, environ: dict[str, str]) -> None:
    done = run("chat", "--socket", daemon.path, stdin=b"Hello\ncaf\xe9\nAnd now?\n", **environ)
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
    done = run(*arguments, "--socket", daemon.path, stdin=b"Hello\n", **UTF8)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"rkllmd: {told}")
    assert len(done.stderr.splitlines()) == 1


def test_a_socket_whose_name_is_not_utf8(daemon: Daemon, tmp_path: Path) -> None:
    """Names of files are bytes."""
    odd = os.fsencode(tmp_path) + b"/caf\xe9.sock"
    os.symlink(daemon.path, odd)
    done = run("call", "server.queue", "--socket", os.fsdecode(odd), stdin=b"", **UTF8)
    assert (done.returncode, done.stderr) == (0, b"")
    missing = run("stop", "--socket", os.fsdecode(odd) + ".none", PYTHONIOENCODING="ascii")
    assert missing.stderr.startswith(b"rkllmd: No daemon serves ")
    assert len(missing.stderr.splitlines()) == 1


def test_output_to_an_encoding_without_the_character(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="text=Grüße")
    daemon.load()
    piped = run("call", "rkllm.run", '{"prompt": "Hello"}', "--socket", daemon.path, PYTHONIOENCODING="ascii")
    assert json.loads(piped.stdout)["text"] == "Grüße", "JSON in a pipe is UTF-8 whatever the terminal is"
    seen = on_terminal("call", "rkllm.run", '{"prompt": "Hello"}', "--socket", daemon.path, PYTHONIOENCODING="ascii")
    assert '"Gr\\u00fc\\u00dfe"' in seen


# -- JSON on a terminal ------------------------------------------------------------------------------------------------


def on_terminal(*arguments: str, **environ: str) -> str:
    """Return what a command shows on a terminal, which it is run to the end on."""
    terminal = Terminal(*arguments, **environ)
    try:
        assert terminal.end() == 0, terminal.screen
        return terminal.screen
    finally:
        terminal.close()


def test_call_is_indented_and_coloured_on_a_terminal_and_plain_in_a_pipe(daemon: Daemon) -> None:
    command = ("call", "rkllm.createDefaultParam", "--socket", daemon.path)
    piped = run(*command, TERM="xterm")
    assert len(piped.stdout.splitlines()) == 1
    value = json.loads(piped.stdout)
    coloured = on_terminal(*command, TERM="xterm")
    assert "\x1b[" in coloured
    plain = re.sub("\x1b\\[[0-9;]*m", "", coloured)
    assert '\n  "max_context_len": ' in plain
    assert json.loads(plain) == value
    no_colours: list[dict[str, str]] = [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}]
    for environ in no_colours:
        assert on_terminal(*command, **environ) == plain


class _Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "takes"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),  # https://no-color.org: not an empty string
        ({"TERM": "xterm", "NO_COLOR": "0"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": ""}, False),
        ({}, False),
    ],
)
def test_where_colours_are_taken(environ: dict[str, str], takes: bool) -> None:
    assert takes_colours(_Tty(), environ) is takes
    assert takes_colours(io.StringIO(), environ) is False


def shown(value: Any, **options: Any) -> str:
    return Printer(colours=False, **options).text(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"text": "An", "token_id": 5, "_callback_state": 0, "seq": 0}, None),  # a token, a line
        ({"data": list(range(16))}, None),
        ({"data": list(range(1000))}, '{"data": [0, 1, 2, 3, 4, 5, …, 998, 999] (1000 numbers)}'),
        ([True] * 20, "[\n" + ",\n".join(["  true"] * 20) + "\n]"),
        ([], "[]"),
        ({}, "{}"),
        ("Hello", '"Hello"'),
        ({"a": {"b": []}}, '{\n  "a": {\n    "b": []\n  }\n}'),
        ([[1, 2], [3, 4]], "[\n  [1, 2],\n  [3, 4]\n]"),
        ({"data": "QUJD" * 100}, '{"data": "QUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQU…" (400 characters)}'),
        ({"text": "a word " * 100}, None),  # what people read is whole
        ({"text": "\x1b[31m\x9b31m"}, '{"text": "\\u001b[31m\\u009b31m"}'),  # nothing that a terminal would obey
        ({"nothing": math.inf}, '{"nothing": Infinity}'),
    ],
)
def test_how_a_value_is_shown(value: Any, text: str | None) -> None:
    assert shown(value) == (json.dumps(value, ensure_ascii=False) if text is None else text)


def test_rows_of_numbers_are_shortened_too() -> None:
    lines = shown([[float(n)] * 100 for n in range(50)]).splitlines()
    assert len(lines) == 2 + 6 + 1 + 2
    assert lines[1] == "  [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, …, 0.0, 0.0] (100 numbers),"
    assert lines[-1] == "] (50 rows)"
    assert shown([0] * 17, encoding="ascii").endswith("0, ..., 0, 0] (17 numbers)")


# -- help --------------------------------------------------------------------------------------------------------------

METHODS = registry.discover()
DOCUMENT = json.loads(json.dumps(discovery.openrpc(METHODS)))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_described_with_an_example_that_it_takes(name: str) -> None:
    method = method_help.find(DOCUMENT, name)
    text = method_help.describe(method, {}, 80)
    for parameter in method["params"]:
        assert re.search(rf"^  {parameter['name']} ", text, re.MULTILINE), parameter["name"]
    words = shlex.split(text.splitlines()[-1])
    assert words[:3] == ["rkllmd", "call", name]
    bind(METHODS[name], json.loads(words[3]) if len(words) > 3 else {})


def test_help_on_a_method_has_types_defaults_and_an_example(daemon: Daemon) -> None:
    done = run("help", "rkllm.init", "--socket", daemon.path, COLUMNS="100")
    text = done.stdout.decode()
    assert text.startswith("rkllm.init: load a language model")
    assert "int rkllm_init(LLMHandle *handle, RKLLMParam *param, RKLLMCallback *callback)" in text
    with daemon.connect() as wire:
        defaults = wire.ask("rkllm.createDefaultParam")["result"]
    assert re.search(rf"max_new_tokens +int32, default {defaults['max_new_tokens']}\.", text)
    assert re.search(r"top_p +number from 0 to 1, default ", text)
    assert re.search(r"model_path +string, required\.", text)
    n_batch = defaults["extend_param"]["n_batch"]
    assert re.search(rf"      n_batch +uint8, default {n_batch}\.", text), "of a struct in the struct"
    assert text.endswith("""Example:\n  rkllmd call rkllm.init '{"model_path": "/models/model.rkllm"}'\n""")


def test_help_without_a_daemon_comes_from_the_program(daemon: Daemon, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "none.sock")
    for name in ("rkllm.run", "rknn", "server.watch"):
        alone = run("help", name, "--socket", nowhere)
        assert (alone.returncode, alone.stderr) == (0, b"")
        assert alone.stdout == run("help", name, "--socket", daemon.path).stdout


def test_help_on_a_namespace_a_command_and_nothing() -> None:
    listed = run("help", "server", "--socket", "/nowhere").stdout.decode()
    for name in METHODS:
        assert (f"{name} " in listed) is name.startswith("server."), name
    assert run("help", "serve").stdout == run("serve", "--help").stdout
    assert run("help").stdout == run("--help").stdout


def test_help_on_what_there_is_not() -> None:
    done = run("help", "rkllm.rum", "--socket", "/nowhere")
    assert done.returncode == 1
    assert done.stderr == b"rkllmd: there is no method 'rkllm.rum'. Did you mean rkllm.run?\n"
