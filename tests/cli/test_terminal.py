"""JSON for a person at a terminal: where colours are taken, what is shortened, what is escaped."""

from __future__ import annotations

import io
import json
import math
import re
from typing import Any

import pytest

from rkllmd.cli import terminal
from rkllmd.cli.terminal import Printer, takes_colours
from tests.cli.commands import run_raw
from tests.cli.terminal import on_terminal
from tests.daemon import Daemon


def test_call_is_indented_and_coloured_on_a_terminal_and_plain_in_a_pipe(daemon: Daemon) -> None:
    command = ("call", "rkllm.createDefaultParam", "--socket", daemon.path)
    piped = run_raw(*command, TERM="xterm")
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


def test_a_text_can_do_nothing_to_a_terminal() -> None:
    text = "a\tb\r\nü\x1b]52;c;AAAA\x07\x9b31m\x00\x7f"
    assert terminal.shown(text, _Tty()) == "a\tb\nü\\u001b]52;c;AAAA\\u0007\\u009b31m\\u0000\\u007f"
    assert terminal.shown(text, io.StringIO()) == text


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
