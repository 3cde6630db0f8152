"""The callbacks for results, and for tokens and embeddings (1.3), called as C calls them."""

from __future__ import annotations

import builtins
import ctypes
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.abi.callbacks import Results, embedding_callback, result_callback, tokenizer_callback
from rkllmd.abi.layouts.rkllm import RKLLMResult
from rkllmd.errors import InvalidParams, NotSupported

WIDTH, VOCABULARY = 3, 5


def ints(*values: int) -> Any:
    return (ctypes.c_int32 * len(values))(*values)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Write a file whose row r is [10 r, 10 r + 1, 10 r + 2]."""
    path = tmp_path / "embed.bin"
    path.write_bytes(b"".join(struct.pack("<3f", *(10 * row + column for column in range(3))) for row in range(5)))
    return path


def test_what_a_result_callback_shows_is_read_anew_each_time() -> None:
    taken: list[tuple[list[tuple[bytes | None, int]], int]] = []

    def take(results: Results, state: int) -> int:
        taken.append(([(result.text, result.token_id) for result in results[:2]] if results else [], state))
        return len(taken)

    callback = result_callback(take, 2)
    first, second = (RKLLMResult * 2)(), (RKLLMResult * 2)()
    null = ctypes.POINTER(RKLLMResult)()
    for shown, text, state in (
        (first, b"a", 0),
        (first, b"b", 0),
        (second, b"c", 0),
        (null, None, 2),
        (first, None, 1),
    ):
        if shown is not null:
            shown[0].text, shown[1].token_id = text, 7 + state
        assert callback(shown, None, state) == len(taken)
    assert taken == [
        ([(b"a", 0), (None, 7)], 0),
        ([(b"b", 0), (None, 7)], 0),
        ([(b"c", 0), (None, 7)], 0),
        ([], 2),
        ([(None, 0), (None, 8)], 1),
    ]


def test_what_is_taken_may_be_written_to_and_stays_c_s() -> None:
    def mute(results: Results, _state: int) -> int:
        results[1].token_id = -1
        return 0

    shown = (RKLLMResult * 2)()
    result_callback(mute, 2)(shown, None, 0)
    assert [result.token_id for result in shown] == [0, -1]


def test_embedding(table: Path, lines: list[str]) -> None:
    embed = embedding_callback(str(table), lines.append)
    buffer = (ctypes.c_float * 6)()
    assert embed(None, ints(4, 1), 2, ctypes.addressof(buffer), ctypes.sizeof(buffer)) == 0
    assert list(buffer) == [40, 41, 42, 10, 11, 12]
    assert lines == []


@pytest.mark.parametrize(
    ("tokens", "count", "size"),
    [
        ((5,), 1, 12),  # beyond the last row
        ((-1,), 1, 12),
        ((0, 1), 2, 25),  # no whole rows
        ((0,), 1, 14),  # no whole float32s
        ((0,), 1, 16),  # the file is no multiple of such a row
        ((0,), 1, 0),
        ((0,), 0, 12),
        ((0,), 2**63, 12),
    ],
)
def test_embedding_refuses(table: Path, lines: list[str], tokens: tuple[int, ...], count: int, size: int) -> None:
    buffer = (ctypes.c_uint8 * 64)(*[7] * 64)
    embed = embedding_callback(str(table), lines.append)
    assert embed(None, ints(*tokens), count, ctypes.addressof(buffer), size) != 0
    assert bytes(buffer) == b"\7" * 64
    assert lines[0].startswith("the embedding callback failed")


@pytest.mark.parametrize("change", [lambda file: file.truncate(12), lambda file: file.write(bytes(12))])
def test_an_embedding_file_that_has_changed_is_not_used(
    table: Path, lines: list[str], change: Callable[[Any], Any]
) -> None:
    buffer = (ctypes.c_float * 3)(7, 7, 7)
    embed = embedding_callback(str(table), lines.append)
    with table.open("r+b") as file:
        change(file)
    os.utime(table, ns=(0, 0))  # whatever the clock's grain
    assert embed(None, ints(0), 1, ctypes.addressof(buffer), ctypes.sizeof(buffer)) != 0
    assert list(buffer) == [7, 7, 7]
    assert lines == [
        "the embedding callback failed: the embedding file was cut short or written to since: load the model again"
    ]


def test_an_embedding_file_that_was_replaced_goes_on_as_it_was(table: Path, lines: list[str]) -> None:
    buffer = (ctypes.c_float * 3)()
    embed = embedding_callback(str(table), lines.append)
    other = table.with_suffix(".new")
    other.write_bytes(bytes(60))
    other.replace(table)
    assert embed(None, ints(1), 1, ctypes.addressof(buffer), ctypes.sizeof(buffer)) == 0
    assert list(buffer) == [10, 11, 12]


def test_embedding_null(table: Path, lines: list[str]) -> None:
    embed = embedding_callback(str(table), lines.append)
    assert embed(None, ints(1), 1, None, 12) != 0
    assert embed(None, None, 1, ctypes.addressof((ctypes.c_float * 3)()), 12) != 0


def test_a_log_that_fails(table: Path) -> None:
    def log(_: str) -> None:
        raise RuntimeError

    assert embedding_callback(str(table), log)(None, ints(9), 1, 1, 12) != 0


def test_embedding_files(tmp_path: Path, lines: list[str]) -> None:
    empty, odd = tmp_path / "empty", tmp_path / "odd"
    empty.touch()
    odd.write_bytes(b"12345")
    for path, keyword in [
        (empty, "format"),
        (tmp_path, "format"),
        (tmp_path / "absent", "format"),
        (odd, "multipleOf"),
    ]:
        with pytest.raises(InvalidParams) as caught:
            embedding_callback(str(path), lines.append)
        assert caught.value.data["keyword"] == keyword
        assert caught.value.data["path"] == "$.embedding_path"
    with pytest.raises(InvalidParams):
        embedding_callback("a\0b", lines.append)


@pytest.fixture
def tokenizer_json(tmp_path: Path) -> Path:
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"[UNK]": 0, "hello": 1, "world": 2, "grüße": 3}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def encode(callback: Callable[..., int], text: bytes, room: int) -> tuple[int, list[int]]:
    tokens = ints(*[-7] * (room + 2))
    length = callback(None, ctypes.create_string_buffer(text + b" world"), len(text), tokens, room)
    return length, list(tokens)


def test_tokenizer(tokenizer_json: Path, lines: list[str]) -> None:
    callback = tokenizer_callback(str(tokenizer_json), lines.append)
    assert encode(callback, b"hello world grusse", 3) == (3, [1, 2, 0, -7, -7])
    assert encode(callback, "grüße".encode(), 3) == (1, [3, -7, -7, -7, -7])
    assert encode(callback, b"", 3) == (0, [-7] * 5)
    assert lines == []


def test_tokenizer_refuses(tokenizer_json: Path, lines: list[str]) -> None:
    callback = tokenizer_callback(str(tokenizer_json), lines.append)
    length, tokens = encode(callback, b"hello hello hello", 2)
    assert (length < 0, tokens) == (True, [-7] * 4)
    assert lines == ["the text has 3 tokens, the runtime takes 2"]
    length, tokens = encode(callback, b"\xff\xfe", 2)
    assert (length < 0, tokens) == (True, [-7] * 4)
    assert "failed" in lines[1]
    text = ctypes.create_string_buffer(b"hello")
    for arguments in [(None, 5, ints(0), 1), (text, 5, None, 1), (text, -1, ints(0), 1)]:
        assert callback(None, *arguments) < 0


def test_tokenizer_files(tmp_path: Path, lines: list[str]) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "no.json").write_text("{}")
    for path in (tmp_path / "no.json", tmp_path / "absent"):
        with pytest.raises(InvalidParams) as caught:
            tokenizer_callback(str(path), lines.append)
        assert caught.value.data["path"] == "$.tokenizer_path"


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    real_import = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "tokenizers":
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "tokenizers", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(NotSupported, match=r"-m pip install 'tokenizers>=.*'\."):
        tokenizer_callback("/t.json", lines.append)
