"""The demo model: what it must get right, and that its evaluation is fair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rkllmd.portable import build
from rkllmd.portable.demo import evaluate
from rkllmd.portable.demo.text import corpus, held_out
from rkllmd.portable.driver import GREEDY, Driver

# Lower bounds, a little below what README.md reports, so that a retrained model may differ in a few answers.
LEAST = {
    "facts": 0.97,
    "capitals, opposites, sounds": 0.97,
    "other languages": 0.95,
    "sums and differences": 0.98,
    "counting": 1.0,
    "history": 0.9,
    "function calls": 0.9,
    "thinking": 1.0,
    "digits in pictures": 1.0,
    "digits in pictures, one after the other": 0.95,
    "digits in pictures, held out": 0.85,
    "pictures that are missing": 0.65,
    "refused, of the trained forms": 0.97,
    "refused, held out": 0.95,
    "refused, held out, other languages": 0.9,
    "refused, written afterwards": 0.9,
}
# This many questions of a group show what a trained model can do; `python -m rkllmd.portable.demo.evaluate` asks all.
ENOUGH = 40


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with Driver(build.build(), evaluate.DEMO, max_context_len=1024, **GREEDY) as made:
        yield made


@pytest.mark.parametrize("group", evaluate.GROUPS)
def test_answers(driver: Driver, group: str) -> None:
    cases = list(evaluate.GROUPS[group]())
    cases = cases[:: max(1, len(cases) // ENOUGH)]
    right = sum(case.right(evaluate.answer(driver, case)) for case in cases)
    assert right / len(cases) >= LEAST[group], f"{right} of {len(cases)}"


def test_held_out_questions_are_not_in_the_training_text() -> None:
    asked = {text for chat in (*corpus.corpus(), *corpus.revision(4000)) for text, learned in chat if not learned}
    shown = [form.format(digit) for form in held_out.ABOUT_PICTURES for digit in (*range(10), "")]
    for question in [*held_out.REFUSED, *shown]:
        assert f"<|im_start|>user\n{question}<|im_end|>\n" not in asked


def test_files_are_small() -> None:
    folder = Path(evaluate.__file__).parent
    assert (folder / "demo.gguf").stat().st_size < 1_300_000
    assert (folder / "demo-lora.gguf").stat().st_size < 100_000
