"""The functions that the portable library has beside RKLLM's, against a tiny library that answers in words."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from pathlib import Path

import pytest

from rkllmd.abi.llguidance import Vocabulary
from rkllmd.portable.extension import ALL, Counted, Description, Extension, Likely, NextRun

SOURCE = r"""
#include <stdint.h>
#include <stdio.h>
#include <string.h>
uint32_t seen_seed; size_t seen[8]; size_t seen_count; int has_seed, seen_flags; char seen_state[8];
int rkllm_portable_next_run(void *handle, const uint32_t *seed, const size_t *spans, size_t count, int flags) {
    seen_flags = flags;
    has_seed = seed != NULL;
    seen_seed = seed ? *seed : 0;
    seen_count = count;
    memcpy(seen, spans, 2 * count * sizeof *spans);
    return handle ? 5 : -1;
}
int rkllm_portable_next_entry(void *handle, int sequence, const uint32_t *seed, const size_t *spans, size_t count,
                              int flags) {
    return sequence < 3 ? 10 * sequence + rkllm_portable_next_run(handle, seed, spans, count, flags) : -1;
}
typedef int (*guide_type)(void *, int32_t, int32_t, uint32_t *, size_t);
guide_type seen_guide;
int rkllm_portable_guide_next_run(void *handle, guide_type guide, void *userdata) {
    seen_guide = guide;
    return handle ? 0 : -1;
}
int ask(int32_t last, int32_t likeliest, uint32_t *allowed, size_t words) {
    return seen_guide(NULL, last, likeliest, allowed, words);
}
int rkllm_portable_logprobs_next_run(void *handle, int top) { return handle ? top : -1; }
int64_t rkllm_portable_logprobs(void *handle, int entry, uint8_t *buffer, size_t size) {
    static uint8_t all[2000] = {5, 0, 0, 0, 0, 0, 0, 0xbf, 1, 0, 0, 0, 'a'};  // -0.5 as a float
    static uint32_t length = sizeof all - 13 - 12;
    if (!handle) return -1;
    if (entry == 0) {
        memcpy(buffer, all, 13);
        return 13;
    }
    memcpy(all + 13 + 8, &length, 4);
    if (size >= sizeof all) memcpy(buffer, all, sizeof all);
    return sizeof all;
}
int64_t rkllm_portable_vocabulary(void *handle, uint8_t *buffer, size_t size) {
    static const uint8_t all[] = {3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 1, 'a', 255, 'E', 255, '2'};
    if (!handle) return -1;
    if (buffer && size >= sizeof all) memcpy(buffer, all, sizeof all);
    return sizeof all;
}
int rkllm_portable_describe(void *handle, char *text, size_t size) {
    if (!handle) return 0;
    if (handle == (void *)2) return (int)size;
    return snprintf(text, size, "{\"context_len\": 512, \"trained_context_len\": 2048, \"context_bytes\": 10, "
                                "\"threads\": 2, \"chat_template\": \"model\", "
                                "\"bos_token\": \"3c73ff\", \"eos_token\": \"\"}");
}
int rkllm_portable_count_tokens(void *handle, const char *text, const size_t *spans, size_t count, int flags) {
    return handle ? (int)(100 * strlen(text) + 10 * count) + flags : -1;
}
int rkllm_portable_reused_tokens(void *handle, int entry) { return handle ? 17 + entry : -1; }
int64_t rkllm_portable_take_state(void *handle, uint8_t *buffer, size_t size) {
    if (!handle) return -1;
    if (buffer && size >= 4) memcpy(buffer, "told", 4);
    return handle == (void *)2 && buffer ? 5 : 4;
}
int rkllm_portable_put_state(void *handle, const uint8_t *bytes, size_t size) {
    return handle ? (memcpy(seen_state, bytes, size), 2) : -1;
}
const char *rkllm_portable_engine(void) { return "x86-64 \xff"; }
"""
HANDLE = ctypes.c_void_p(1)


def built(folder: Path, source: str) -> Path:
    (folder / "tiny.c").write_text(source)
    library = folder / "libtiny.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "tiny.c"], check=True)
    return library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("extension"), SOURCE)


def test_a_library_without_them_has_none(tmp_path: Path, library: Path) -> None:
    assert Extension.of(built(tmp_path, "int rkllm_init(void) { return 0; }")) is None
    assert Extension.of(library) is not None


@pytest.mark.parametrize(
    ("seed", "meant", "seen"), [(7, [(1, 2), (3, 9)], [1, 2, 3, 9]), (None, [], []), (2**32 - 1, ALL, [0, 2**31])]
)
def test_the_next_run_gets_its_seed_and_its_spans(
    library: Path, seed: int | None, meant: list[tuple[int, int]], seen: list[int]
) -> None:
    extension, dll = Extension(library), ctypes.CDLL(str(library))
    assert extension.next_run(HANDLE, NextRun(seed, meant)) == 5
    assert ctypes.c_int.in_dll(dll, "has_seed").value == (seed is not None)
    assert ctypes.c_uint32.in_dll(dll, "seen_seed").value == (seed or 0)
    assert ctypes.c_size_t.in_dll(dll, "seen_count").value == len(meant)
    assert list((ctypes.c_size_t * 8).in_dll(dll, "seen"))[: len(seen)] == seen


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (NextRun(), 0),
        (NextRun(bare=True), 1),
        (NextRun(reuse=True), 2),
        (NextRun(show_special=True), 4),
        (NextRun(bare=True, reuse=True, show_special=True), 7),
    ],
)
def test_the_next_run_gets_its_flags(library: Path, options: NextRun, flags: int) -> None:
    Extension(library).next_run(HANDLE, options)
    assert ctypes.c_int.in_dll(ctypes.CDLL(str(library)), "seen_flags").value == flags


@pytest.mark.parametrize(
    ("how", "found"),
    [
        (Counted(), 300),
        (Counted(meant=((0, 1), (2, 3))), 320),
        (Counted(bare=True), 301),
        (Counted(part=True, thinking=True), 324),
    ],
)
def test_a_text_is_counted(library: Path, how: Counted, found: int) -> None:
    assert Extension(library).count_tokens(HANDLE, b"abc", how) == found


def test_what_the_cache_holds_is_taken_and_comes_back(library: Path) -> None:
    extension, dll = Extension(library), ctypes.CDLL(str(library))
    assert (extension.reused_tokens(HANDLE), extension.reused_tokens(HANDLE, 2)) == (17, 19)
    assert extension.take_state(HANDLE) == bytearray(b"told")
    assert extension.take_state(ctypes.c_void_p(2)) is None, "it has changed between the two calls"
    assert extension.take_state(ctypes.c_void_p(0)) is None
    assert (extension.put_state(HANDLE, bytearray(b"said")), extension.put_state(ctypes.c_void_p(0), bytearray())) == (
        2,
        -1,
    )
    assert (ctypes.c_char * 8).in_dll(dll, "seen_state").value == b"said"


def test_a_model_is_described_unless_the_library_does_not_say_or_says_too_much(library: Path) -> None:
    extension = Extension(library)
    assert extension.describe(HANDLE) == Description(512, 2048, 10, 2, "model", "<s\ufffd", "")
    assert extension.describe(ctypes.c_void_p(0)) is None
    assert extension.describe(ctypes.c_void_p(2)) is None, "it did not fit"


def test_how_likely_a_token_was_is_read(library: Path) -> None:
    extension = Extension(library)
    assert (extension.logprobs_next_run(HANDLE, 7), extension.logprobs_next_run(ctypes.c_void_p(0), 7)) == (7, -1)
    assert extension.logprobs(HANDLE) == [Likely(5, -0.5, b"a")]
    first, second = extension.logprobs(HANDLE, 1)
    assert first == Likely(5, -0.5, b"a")
    assert second == Likely(0, 0.0, bytes(1975)), "which did not fit at first"
    assert extension.logprobs(ctypes.c_void_p(0)) == []


def test_a_guide_is_asked_for_each_token(library: Path) -> None:
    extension, dll = Extension(library), ctypes.CDLL(str(library))
    asked: list[tuple[int, int, int]] = []

    def guide(last: int, likeliest: int, allowed: int, words: int) -> None:
        if last == 7:
            raise SystemExit
        asked.append((last, likeliest, words))
        ctypes.c_uint32.from_address(allowed).value = 5

    kept = extension.guide_next_run(HANDLE, guide)
    bits = (ctypes.c_uint32 * 2)()
    dll.ask.argtypes = [ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t]
    assert (dll.ask(-1, 3, bits, 2), bits[0], asked) == (0, 5, [(-1, 3, 2)])
    assert dll.ask(7, -1, bits, 2) == -1, "it could not say"
    with pytest.raises(ValueError, match="guide_next_run"):
        extension.guide_next_run(ctypes.c_void_p(0), guide)
    del kept


def test_each_token_is_text_or_the_end_or_neither(library: Path) -> None:
    extension = Extension(library)
    assert extension.vocabulary(HANDLE) == Vocabulary(struct.pack("=3I", 2, 1, 2), b"a\xffE\xff2", (1, 2))
    with pytest.raises(ValueError, match="vocabulary"):
        extension.vocabulary(ctypes.c_void_p(0))


def test_what_the_engine_was_compiled_for_may_be_any_bytes(library: Path) -> None:
    assert Extension(library).engine() == "x86-64 \ufffd"


def test_an_entry_has_its_place_and_its_options(library: Path) -> None:
    extension, dll = Extension(library), ctypes.CDLL(str(library))
    assert extension.next_entry(HANDLE, 2, NextRun(3, [(1, 4)], reuse=True)) == 25
    assert ctypes.c_uint32.in_dll(dll, "seen_seed").value == 3
    assert list((ctypes.c_size_t * 8).in_dll(dll, "seen"))[:2] == [1, 4]
    assert ctypes.c_int.in_dll(dll, "seen_flags").value == 2
    assert extension.next_entry(HANDLE, 3, NextRun()) == -1, "the library says no"
