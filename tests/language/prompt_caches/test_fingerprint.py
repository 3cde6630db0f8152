"""What a prompt cache depends on, and how it is said that something differs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rkllmd.language.prompt_caches.fingerprint import Fingerprint, differences, in_words
from rkllmd.machine.files import identify

MADE: Fingerprint = {
    "runtime": "vendor 1.2.3",
    "runtime_sha256": "a",
    "layout": "1.2",
    "n_batch": 1,
    "max_context_len": 512,
    "model_path": "/models/a",
    "model_bytes": 10,
    "model_modified_ns": 1,
    "model_sha256": "b",
}
LORA: Fingerprint = {
    "lora_adapter": "poet",
    "lora_path": "/loras/poet",
    "lora_bytes": 5,
    "lora_modified_ns": 1,
    "lora_sha256": "c",
}


def test_a_file_is_known_by_path_size_time_and_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "model"
    content = bytearray(3 << 20)
    path.write_bytes(content)
    os.utime(path, ns=(0, 5))
    first = identify(str(path))
    assert (first.path, first.size_bytes, first.modified_ns) == (str(path), 3 << 20, 5)
    (tmp_path / "link").symlink_to(path)
    assert identify(str(tmp_path / "link")) == first
    hashes = {first.sha256}
    for position in (0, len(content) - 1):
        changed = content.copy()
        changed[position] = 1
        path.write_bytes(changed)
        hashes.add(identify(str(path)).sha256)
    assert len(hashes) == 3


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 2 << 20])
def test_a_file_of_any_size_has_a_hash_of_its_last_byte(tmp_path: Path, size: int) -> None:
    path = tmp_path / "model"
    path.write_bytes(bytes(size))
    before = identify(str(path))
    assert before.size_bytes == size
    path.write_bytes(bytes(max(0, size - 1)) + b"x")
    assert identify(str(path)).sha256 != before.sha256


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        identify(str(tmp_path / "none"))


def test_what_is_the_same_does_not_differ() -> None:
    assert differences(MADE, dict(MADE)) == []
    assert differences({**MADE, **LORA}, {**MADE, **LORA}) == []


@pytest.mark.parametrize(
    ("now", "what", "words"),
    [
        ({"n_batch": 2}, ["n_batch"], "another n_batch (1, now 2)"),
        ({"max_context_len": 4096}, ["max_context_len"], "another max_context_len (512, now 4096)"),
        (
            {"model_path": "/models/b", "model_bytes": 3, "model_sha256": "x"},
            ["model_path", "model_bytes", "model_sha256"],
            "another model (/models/a, now /models/b)",
        ),
        ({"model_modified_ns": 2}, ["model_modified_ns"], "a model file that was written to since"),
        (
            {"model_modified_ns": 2, "model_sha256": "x"},
            ["model_modified_ns", "model_sha256"],
            "a model file with other contents",
        ),
        (
            {"runtime": "vendor 1.3.0", "runtime_sha256": "x", "layout": "1.3"},
            ["runtime", "runtime_sha256", "layout"],
            "another runtime (vendor 1.2.3, now vendor 1.3.0), another struct layout (1.2, now 1.3)",
        ),
        ({"runtime_sha256": "x"}, ["runtime_sha256"], "another build of the runtime"),
    ],
)
def test_each_difference_is_named(now: Fingerprint, what: list[str], words: str) -> None:
    found = differences(MADE, {**MADE, **now})
    assert [item["what"] for item in found] == what
    assert found[0] == {"what": what[0], "saved": MADE[what[0]], "now": now[what[0]]}
    assert in_words(found) == words


def test_an_adapter_that_is_not_loaded_is_named() -> None:
    found = differences({**MADE, **LORA}, {**MADE, "lora_adapter": "poet"})
    assert in_words(found) == "the LoRA adapter /loras/poet, which is not loaded"
