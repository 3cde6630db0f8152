"""What was reported of runtime 1.3.1, as the simulator plays it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest

from tests.simulator.player import FINISH, NORMAL, Event, Model, Simulator


def test_a_prompt_longer_than_the_window(load: Callable[..., Model], capfd: pytest.CaptureFixture[str]) -> None:
    model = load("prompt_limit=1;log=none", max_context_len=32)
    assert model.play(b"x" * 33) == (-1, model.recorder)
    assert model.recorder.events == []
    assert capfd.readouterr().err == ""
    assert model.play(b"x" * 32)[1].states[-1] == FINISH
    assert load("", max_context_len=32).play(b"x" * 33)[0] == 0


def test_tokens_that_are_not_counted(load: Callable[..., Model]) -> None:
    recorder = load("text=abcdef;uncounted_tokens=1").play()[1]
    assert (recorder.states.count(NORMAL), recorder.events[-1].generate_tokens) == (3, 2)


def test_the_tokens_of_the_models_own_template(load: Callable[..., Model]) -> None:
    """The empty chat template tokenises the prompt exactly as given."""
    model = load("template_tokens=7")
    assert model.play(b"hello")[1].events[-1].prefill_tokens == 12
    assert model.set_chat_template(b"", b"", b"") == 0
    assert model.play(b"hello")[1].events[-1].prefill_tokens == 5


def test_results_of_functions_that_are_no_json(load: Callable[..., Model]) -> None:
    model = load("tool_json=1")
    for text, status in (
        *((b'{"a": 1}', 0), (b" [1]\n", 0), (b'"word"', 0), (b"-1.5", 0), (b"true", 0)),
        *((b"sunny", -1), (b"", -1), (b"{", -1), (b"  ", -1)),
    ):
        assert model.play(model.input(text, role=b"tool"))[0] == status, text
    assert model.play(model.input(b"sunny", role=b"user"))[0] == 0
    assert load().play(model.input(b"sunny", role=b"tool"))[0] == 0


def test_a_context_that_is_no_multiple(load: Callable[..., Model], capfd: pytest.CaptureFixture[str]) -> None:
    assert load("context_step=32", max_context_len=1000).status == -1
    assert "max_context[1000] must be a multiple of 32" in capfd.readouterr().err
    assert load("context_step=32", max_context_len=1024).status == 0


def test_an_abort_inside_the_callback(load: Callable[..., Model]) -> None:
    """It returns at once, and exactly one FINISH follows; the next run is clean."""
    model = load("text=ab;repeat=1000", max_new_tokens=0)
    answers: list[int] = []

    def abort(event: Event) -> int:
        if event.state == NORMAL and event.token_id == 102:
            answers.append(model.abort())
        return 0

    status, recorder = model.play(reply=abort)
    assert (status, answers, recorder.states) == (0, [0], [NORMAL] * 3 + [FINISH])
    assert model.play()[1].states == [NORMAL] * 1000 + [FINISH]


def test_placeholders_without_media(load: Callable[..., Model], simulator: Simulator) -> None:
    model = load("embd=2")
    assert model.play(b"an <image>")[0] == -1
    given = model.input(input_type=3)
    multimodal = given.multimodal_input
    image = multimodal.image if simulator.is_1_3 else multimodal
    image.image_embed, image.n_image, image.n_image_tokens = (ctypes.c_float * 2)(), 1, 1
    for prompt, status in ((b"<image>", 0), (b"<image><image>", -1), (b"none", 0)):
        multimodal.prompt = prompt
        assert model.play(given)[0] == status, prompt
    multimodal.prompt = b"<image><video>"
    assert model.play(given)[0] == (-1 if simulator.is_1_3 else 0)
    multimodal.prompt = b"<image><audio>"
    assert model.play(given)[0] == (-1 if hasattr(multimodal, "audio") else 0)
    assert load("embd=2;placeholder_overrun=0").play(b"an <image>")[0] == 0
