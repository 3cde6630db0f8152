"""llguidance's C functions: that they are those we know, and that nobody waits for them."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
from llguidance import LLMatcher, LLParserLimits, _lib

from rkllmd.abi import llguidance
from rkllmd.abi.llguidance import Matcher, Tokenizer, Vocabulary
from rkllmd.errors import NotSupported
from tests.language.guided.vocabularies import END, vocabulary_of

GRAMMAR = LLMatcher.grammar_from_json_schema('{"enum": ["ab", "ba"]}')
TOKENS = [b'"', b"a", b"b", b'"ab', None, END]


@pytest.fixture
def slow_switches() -> Iterator[None]:
    """Take Python's lock from no thread that does not give it away itself."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(before)


def order_of(work: Callable[[], object]) -> list[str]:
    """Return in which order another thread begins and ends its work, and this one has its turn."""
    order: list[str] = []
    begun = threading.Event()

    def run() -> None:
        begun.set()
        work()
        order.append("end")

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait()
    order.append("turn")
    thread.join()
    return order


def test_other_threads_run_while_a_vocabulary_is_read(slow_switches: None) -> None:
    words = [bytes(letters) for letters in product(b"abcdefghij", repeat=4)]
    vocabulary = vocabulary_of([*words, END])
    # Whoever is not scheduled for so long may miss its turn once; with the lock held it misses it each time.
    assert any(order_of(lambda: Tokenizer(vocabulary)) == ["turn", "end"] for _ in range(20))
    assert order_of(lambda: sum(range(10**6))) == ["end", "turn"], "the order shows who has the lock"


def matcher(tokens: list[bytes | None]) -> Matcher:
    return Matcher(Tokenizer(vocabulary_of(tokens)), GRAMMAR, LLParserLimits())


def legal(of: Matcher, count: int) -> set[int]:
    bits = bytearray((count + 31) // 32 * 4)
    assert of.compute_mask()
    of.copy_mask(ctypes.addressof(ctypes.c_char.from_buffer(bits)), len(bits))
    return {token for token in range(count) if bits[token // 8] >> token % 8 & 1}


def test_an_answer_is_followed_token_by_token() -> None:
    follows = matcher(TOKENS)
    assert legal(follows, 6) == {0, 3}
    assert follows.consume(3)
    assert legal(follows, 6) == {0}
    assert follows.consume(0)
    assert legal(follows, 6) == {5}
    assert follows.error is None
    assert not follows.consume(1)
    assert follows.error is not None
    assert not follows.compute_mask()


def test_no_more_is_copied_than_there_is_and_than_fits() -> None:
    follows = matcher([*TOKENS, *(b"%d" % number for number in range(60))])
    assert follows.compute_mask()
    for size, copied in ((4, 4), (12, 12), (20, 12)):
        space = bytearray(b"\xee" * 20)
        follows.copy_mask(ctypes.addressof(ctypes.c_char.from_buffer(space)), size)
        assert space == bytes([0b1001]) + bytes(copied - 1) + b"\xee" * (20 - copied)


def test_a_grammar_that_is_none_is_an_error_of_the_matcher() -> None:
    broken = Matcher(Tokenizer(vocabulary_of(TOKENS)), "{", LLParserLimits())
    assert not broken.compute_mask()
    assert broken.error


def test_limits_hold() -> None:
    limited = Matcher(Tokenizer(vocabulary_of(TOKENS)), GRAMMAR, LLParserLimits(max_grammar_size=1))
    assert not limited.compute_mask()
    assert "size" in (limited.error or "")


def test_a_vocabulary_whose_end_it_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="EOS"):
        Tokenizer(Vocabulary(b"\1\0\0\0", b"a", (7,)))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("void llg_free_tokenizer(void *it) {}", "llg_new_tokenizer_v2"),
        ("DEFAULTS { unsigned *all = init; all[0] = (unsigned)tokenizer; all[1] = 0; all[20] = 1; }", "its size"),
        ("DEFAULTS { char *all = init; for (int i = 0; i < 80; i++) all[i] = 0; }", "tokenizer, max_items_in_row"),
    ],
)
def test_a_library_with_another_interface_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    others = [
        "llg_new_tokenizer_v2",
        "llg_new_matcher",
        "llg_free_matcher",
        "llg_matcher_compute_mask",
        "llg_matcher_get_mask",
        "llg_matcher_get_mask_byte_size",
        "llg_matcher_consume_token",
        "llg_matcher_get_error",
        "llg_free_tokenizer",
    ]
    defaults = "void llg_constraint_init_set_defaults(void *init, void *tokenizer)"
    functions = "".join(f"void {name}(void) {{}}\n" for name in others) if "DEFAULTS" in source else ""
    (tmp_path / "other.c").write_text(functions + source.replace("DEFAULTS", defaults))
    library = tmp_path / "libother.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", library, tmp_path / "other.c"], check=True)
    monkeypatch.setattr(_lib, "__file__", str(library))
    with pytest.raises(NotSupported, match=said) as refused:
        llguidance._library.__wrapped__()
    assert "format_by" in refused.value.message
