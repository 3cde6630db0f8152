"""The chat template and the sizes of a model's file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.json_types import Json
from rkllmd.portable import gguf
from rkllmd.portable.demo import MODEL as DEMO_MODEL
from rkllmd.portable.demo.text.layout import CHAT_TEMPLATE, CONTROL_TOKENS, END_OF_TEXT, END_OF_TURN, TAG_TOKENS
from tests.portable import gguf_files


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def made(*pairs: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)


TEMPLATE = string("tokenizer.chat_template") + struct.pack("<I", 8) + string("the template")
BEFORE = (
    string("a") + struct.pack("<IB", 7, 1),
    string("b") + struct.pack("<Id", 12, 1.5),
    string("c") + struct.pack("<IIQ", 9, 8, 2) + string("x") + string("yz"),
    string("d") + struct.pack("<IIQ", 9, 4, 3) + bytes(12),
    string("e") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 0, 5) + bytes(5),
    string("f") + struct.pack("<I", 8) + string("text"),
)


def test_the_demo_models_template() -> None:
    assert gguf.chat_template(str(DEMO_MODEL)) == CHAT_TEMPLATE


def test_a_template_behind_values_of_every_type(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(made(*BEFORE, TEMPLATE))
    assert gguf.chat_template(str(file)) == "the template"
    file.write_bytes(made(*BEFORE))
    assert gguf.chat_template(str(file)) is None


@pytest.mark.parametrize(
    "content", [b"", b"GG", b"SIMMODEL" * 10, b"GGUF", made(TEMPLATE)[:-3], b"GGUF" + b"\xff" * 99]
)
def test_a_file_that_is_none_or_damaged_has_no_template(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    assert gguf.chat_template(str(file)) is None


@given(data=st.binary(max_size=200))
def test_no_content_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.gguf"
    file.write_bytes(made(*BEFORE)[:20] + data)
    gguf.chat_template(str(file))


def test_the_demo_models_width() -> None:
    assert gguf.embedding_width(str(DEMO_MODEL)) == 128


@pytest.mark.parametrize(
    ("architecture", "key", "kind", "width"),
    [
        ("llama", "llama.embedding_length", 4, 896),
        ("llama", "qwen2.embedding_length", 4, None),
        ("llama", "llama.embedding_length", 6, None),  # no count
        ("qwen3vl", "qwen3vl.embedding_length", 4, None),  # its images' rows are wider
    ],
)
def test_a_width_that_is_known(tmp_path: Path, architecture: str, key: str, kind: int, width: int | None) -> None:
    file = tmp_path / "model.gguf"
    name = string("general.architecture") + struct.pack("<I", 8) + string(architecture)
    file.write_bytes(made(*BEFORE, name, string(key) + struct.pack("<II", kind, 896)))
    assert gguf.embedding_width(str(file)) == width
    file.write_bytes(made(*BEFORE, string(key) + struct.pack("<II", kind, 896)))
    assert gguf.embedding_width(str(file)) is None


@pytest.mark.parametrize(("number", "pooling"), [(0, None), (1, "mean"), (2, "cls"), (3, "last"), (9, None)])
def test_how_rows_become_one_embedding(tmp_path: Path, number: int, pooling: str | None) -> None:
    file = tmp_path / "model.gguf"
    name = string("general.architecture") + struct.pack("<I", 8) + string("bert")
    file.write_bytes(made(*BEFORE, name, string("bert.pooling_type") + struct.pack("<II", 4, number)))
    assert gguf.pooling(str(file)) == pooling
    file.write_bytes(b"")
    assert gguf.pooling(str(file)) is None


def test_a_load_passes_over_the_vocabulary_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[BinaryIO] = []
    reader = gguf._Reader

    def counted(file: BinaryIO) -> gguf._Reader:
        readers.append(file)
        return reader(file)

    monkeypatch.setattr(gguf, "_Reader", counted)
    file = str(tmp_path / "model.gguf")
    Path(file).write_bytes(made(*BEFORE, TEMPLATE))
    assert (gguf.embedding_width(file), gguf.pooling(file), gguf.chat_template(file)) == (None, None, "the template")
    assert len(readers) == 1


# -- sizes -----------------------------------------------------------------------------------------------------------


def count(key: str, value: int) -> bytes:
    return string(key) + struct.pack("<II", 4, value)


ARCHITECTURE = string("general.architecture") + struct.pack("<I", 8) + string("x")
LEAST = [
    ARCHITECTURE,
    count("x.block_count", 3),
    count("x.embedding_length", 64),
    count("x.attention.head_count", 4),
    count("x.context_length", 128),
]
WORDS = string("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2**40)


def sizes_of(path: Path, *pairs: bytes) -> gguf.Sizes | None:
    path.write_bytes(made(*pairs))
    return gguf.sizes(str(path))


def test_the_sizes_up_to_the_vocabulary(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    assert sizes_of(file, *LEAST, WORDS) == gguf.Sizes(3 * 4 * 32, 4, 64, 0, 2**40, 128), "of which nothing is read"
    more = [count("x.attention.head_count_kv", 2), count("x.attention.key_length", 80), count("x.vocab_size", 7)]
    assert sizes_of(file, *BEFORE, *LEAST, *more) == gguf.Sizes(3 * 2 * (80 + 16), 4, 64, 0, 7, 128)
    of_blocks = string("x.attention.head_count_kv") + struct.pack("<IIQIII", 9, 5, 3, 1, 0, 4)
    assert sizes_of(file, *LEAST, of_blocks) == gguf.Sizes(5 * 32, 4, 64, 0, 0, 128)


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        LEAST[:-1],
        [*LEAST, count("x.block_count", 0)],
        [*LEAST, count("x.block_count", 2**31)],
        [*LEAST, string("names") + struct.pack("<IIQ", 9, 8, 2**40)],
        [*LEAST, string("n" * 70_000)],
    ],
)
def test_a_file_that_does_not_say_its_sizes(tmp_path: Path, pairs: list[bytes]) -> None:
    assert sizes_of(tmp_path / "model.gguf", *pairs) is None


def test_the_tokenizer_has_templates_and_tokens_that_are_no_words() -> None:
    found = gguf.tokenizer(str(DEMO_MODEL))
    assert found is not None
    assert found.templates == {"default": CHAT_TEMPLATE}
    assert found.named == {"bos": END_OF_TEXT, "eos": END_OF_TURN}
    assert (found.control, found.user_defined) == (CONTROL_TOKENS, TAG_TOKENS)


def test_templates_have_names_and_tokens_may_have_no_kinds(tmp_path: Path) -> None:
    keys = {
        "tokenizer.chat_template": "a",
        "tokenizer.chat_template.tool_use": "b",
        "tokenizer.ggml.tokens": ["x", "y"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    found = gguf.tokenizer(str(gguf_files.write(tmp_path / "a.gguf", keys, {})))
    assert found == gguf.Tokenizer({"default": "a", "tool_use": "b"}, {"bos": "y"}, (), ())


@pytest.mark.parametrize("size", [0, 3, 100, 5000])
def test_a_file_that_is_cut_off_has_no_tokenizer(tmp_path: Path, size: int) -> None:
    (tmp_path / "a.gguf").write_bytes(DEMO_MODEL.read_bytes()[:size])
    assert gguf.tokenizer(str(tmp_path / "a.gguf")) is None


@pytest.mark.parametrize(
    "keys",
    [
        {"tokenizer.chat_template": "a" * (2**20 + 1)},
        {"tokenizer.ggml.tokens": [1, 2]},
        {"tokenizer.ggml.token_type": ["a"]},
        {"tokenizer.ggml.tokens": ["a" * 2**24] * 3},
    ],
)
def test_a_tokenizer_has_a_size_and_types(tmp_path: Path, keys: dict[str, Json]) -> None:
    assert gguf.tokenizer(str(gguf_files.write(tmp_path / "a.gguf", keys, {}))) is None
