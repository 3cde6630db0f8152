"""Our tokens are the engine's, whatever special tokens a text is made of; and a long text can be left."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rkllmd.portable import build
from tests.portable import gguf_files

SOURCES = build.SOURCES / "model"
STEPS = Path(__file__).with_name("tokenizer_steps.cpp")
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6
# Runs of one character, beginnings and ends of one another, and overlaps of equal and of unequal lengths.
SPECIAL = {
    **{"\n" * count: _USER_DEFINED for count in range(2, 9)},
    **{" " * count: _USER_DEFINED for count in (2, 3, 5)},
    "<mask>": _CONTROL,
    "<|endoftext|>": _CONTROL,
    "<|end|>": _CONTROL,
    "<|end|><|end|>": _USER_DEFINED,
    "|><|": _USER_DEFINED,
    "ab": _USER_DEFINED,
    "abc": _CONTROL,
    "cde": _CONTROL,
    "bcd": _USER_DEFINED,
    "defgh": _USER_DEFINED,
    "abcdef": _CONTROL,
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    target, engine = tmp_path_factory.mktemp("tokenizer") / "steps", build.find_engine()
    sources = [STEPS, SOURCES / "special_tokens.cpp", SOURCES / "tokenizer.cpp"]
    include = [f"-I{folder}" for folder in (*build.FOLDERS, build.HEADER.parent, engine.headers)]
    libraries = [f"-L{engine.libraries}", f"-Wl,-rpath,{engine.libraries}", *engine.link, "-lpthread"]
    command = [*build.find_compiler(), "-std=c++17", "-O1", *include, *map(str, sources), *libraries, "-o", str(target)]
    subprocess.run(command, check=True)
    return str(target)


def ask(program: str, model: Path, *arguments: str) -> str:
    return subprocess.run([program, str(model), *arguments], check=True, capture_output=True, text=True).stdout


def vocabulary(path: Path, name: str, kind: str, pre: str) -> Path:
    """Write a vocabulary of single bytes and the special tokens; ``name`` and ``pre`` tell the engine what to strip."""
    letters = [chr(code) for code in range(33, 127)]
    single = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * len(letters)]
    keys = {
        "general.architecture": "llama",
        "general.name": name,
        "llama.vocab_size": len(single) + len(SPECIAL),
        "tokenizer.ggml.model": kind,
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [*single, *SPECIAL],
        "tokenizer.ggml.token_type": [*kinds, *SPECIAL.values()],
        "tokenizer.ggml.scores": [0.0] * (len(single) + len(SPECIAL)),
        "tokenizer.ggml.merges": ["w o", "wo r"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_eos_token": True,
    }
    return gguf_files.write(path, keys, {})


@pytest.mark.parametrize(
    ("name", "kind", "pre"),
    [("plain", "llama", "default"), ("phi-3", "llama", "default"), ("mask", "gpt2", "jina-v2-de")],
    ids=["words", "spaces behind", "spaces before"],
)
def test_the_tokens_are_those_of_the_engine(program: str, tmp_path: Path, name: str, kind: str, pre: str) -> None:
    found = ask(program, vocabulary(tmp_path / "vocabulary.gguf", name, kind, pre), "compare", "30")
    assert found.startswith("0 different"), found
    assert int(found.split()[2]) > 3_000


def test_so_they_are_of_the_demo_model_and_of_an_embedding_model(program: str, tmp_path: Path) -> None:
    for model in (gguf_files.DEMO, gguf_files.embedding_model(tmp_path / "embedding.gguf")):
        assert ask(program, model, "compare", "30").startswith("0 different"), model.name


@pytest.mark.parametrize("text", ["<|im_end|>", "word", " word\n"])
def test_whoever_aborts_does_not_wait_for_the_engine(program: str, text: str) -> None:
    assert ask(program, gguf_files.DEMO, "abort", "4000000", text).startswith("aborted")
