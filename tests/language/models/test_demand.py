"""How much memory a load asks for: as the portable runtime computes it, and as a guess for others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.language.models import demand
from rkllmd.portable.demo import MODEL
from tests.portable import gguf_files

MIB = 2**20
PORTABLE: Any = SimpleNamespace(name="portable")
VENDOR: Any = SimpleNamespace(name="vendor")
QWEN = {
    "general.architecture": "qwen2",
    "qwen2.block_count": 28,
    "qwen2.context_length": 32768,
    "qwen2.embedding_length": 1536,
    "qwen2.feed_forward_length": 8960,
    "qwen2.attention.head_count": 12,
    "qwen2.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": [f"{number}" for number in range(1000)],
}


def param(context: int, entries: int = 1) -> Any:
    return SimpleNamespace(max_context_len=context, extend_param=SimpleNamespace(n_batch=entries))


def test_of_a_gguf_all_is_counted(tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "m.gguf", QWEN, {"x": (32, 32)})
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(64 * MIB)
    found = demand.of(PORTABLE, str(path), size, param(4096, 2))
    cell, tables = 28 * 2 * 128 * 2 * 2, 2 * 512 * 4
    buffers = 512 * 4 * (2 * 8960 + 3 * 1536)
    assert (found.file_bytes, found.beside_is_guess) == (64 * MIB, False)
    assert found.beside_bytes == 2 * 4096 * (cell + tables) + buffers
    assert "max_context_len" in found.advice
    assert demand.of(PORTABLE, str(path), size, param(4096)).remembered_as != found.remembered_as


def test_a_context_that_nobody_asked_for_needs_its_least(tmp_path: Path) -> None:
    short = demand.of(PORTABLE, str(MODEL), MODEL.stat().st_size, param(0))
    assert short.beside_bytes == demand.of(PORTABLE, str(MODEL), 0, param(512)).beside_bytes
    assert (short.remembered_as, short.advice) == (str(MODEL), "")


def test_all_files_of_a_split_gguf_count(tmp_path: Path) -> None:
    first = gguf_files.write(tmp_path / "m-00001-of-00002.gguf", QWEN, {})
    (tmp_path / "m-00002-of-00002.gguf").write_bytes(bytes(5000))
    size = first.stat().st_size
    assert demand.of(PORTABLE, str(first), size, param(512)).file_bytes == size + 5000


@pytest.mark.parametrize(("context", "entries", "beside"), [(4096, 1, 25), (4096, 2, 50), (0, 1, 25), (65536, 1, 100)])
def test_of_other_files_it_is_guessed_by_the_context(context: int, entries: int, beside: int) -> None:
    found = demand.of(VENDOR, "/m.rkllm", 100, param(context, entries))
    assert (found.file_bytes, found.beside_bytes, found.beside_is_guess) == (100, beside, True)


def test_a_gguf_that_says_nothing_is_guessed_too(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 96)
    found = demand.of(PORTABLE, str(path), 100, param(4096))
    assert (found.beside_bytes, found.beside_is_guess) == (25, True)
