"""Prompts without a chat template: what C is told and given, and who can't have that."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.abi.layouts.rkllm_common import RKLLMInputType
from rkllmd.errors import InvalidParams, NotSupported
from rkllmd.language import prompt_length
from rkllmd.language.runs.rendering import bare, plain_prompts
from rkllmd.portable.extension import Counted

INPUT = LAYOUTS["1.3"]["RKLLMInput"]
SET = "rkllm_set_chat_template"
TOKENS = '{"added_tokens_decoder":{"1":{"content":"<fim_prefix>"},"2":{"content":"<fim_suffix>"}%s}}'


@pytest.fixture
def told() -> list[Any]:
    """Return the strings that C is told as its chat template."""
    return []


@pytest.fixture
def run(tmp_path: Path, told: list[Any]) -> Any:
    """Return a run of a prompt on a model of the vendor's runtime whose tokenizer is declared."""
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    (tmp_path / "tokenizer_config.json").write_text(TOKENS % ',"3":{"content":"<fim_middle>","special":true}')
    asked = INPUT(input_type=RKLLMInputType.RKLLM_INPUT_PROMPT, prompt_input=b"one <fim_middle>")
    layout = LAYOUTS["1.3"]
    runtime = SimpleNamespace(
        extension=None,
        name="simulator",
        call=lambda function, pointer, *strings, on: told.append((function, strings)),
        not_supported=lambda what, needs: NotSupported(f"{what} is not supported.", needs=needs),
    )
    model = SimpleNamespace(
        pointer=1,
        strings={},
        is_bare=False,
        tokenizer=str(tmp_path),
        max_context_len=1000,
        file=None,
        library=SimpleNamespace(layout=layout),
    )
    return SimpleNamespace(
        language=SimpleNamespace(runtime=runtime),
        invocation=SimpleNamespace(call=SimpleNamespace(members=SimpleNamespace(session=None))),
        model=model,
        input=SimpleNamespace(json={}, c=asked, path="$.rkllm_input"),
        only_input=asked,
        has_one_input=True,
        parameters=SimpleNamespace(keep_history=0),
        messages=None,
        special=None,
        bare=True,
        suffix=None,
        is_bare=True,
    )


def test_c_puts_no_template_around_it_and_later_the_one_that_was_set(run: Any, told: list[Any]) -> None:
    run.model.strings = {SET: [b"a", b"b", b"c"]}
    with plain_prompts.wrapped(run, goes_on=False):
        assert run.only_input.prompt_input == b"one <fim_middle>"
    run.is_bare = False
    with plain_prompts.wrapped(run, goes_on=False):
        assert told == [(SET, (b"", b"", b"")), (SET, (b"a", b"b", b"c"))]


def test_a_template_that_nobody_could_put_back_is_not_taken_away(run: Any, told: list[Any]) -> None:
    run.model.tokenizer = None
    with pytest.raises(NotSupported), bare.given(run):
        raise AssertionError("it does not run")
    assert not told


def test_a_gap_is_between_the_markers_of_the_model(run: Any) -> None:
    run.suffix = "two"
    text = bare.text_of(run, b"one <fim_middle>")
    assert str(text) == "<fim_prefix>one <fim_middle><fim_suffix>two<fim_middle>"
    assert text.spans == ((0, 12), (28, 40), (43, 55)), "the text's own markers are words"
    with plain_prompts.wrapped(run, goes_on=False):
        assert run.only_input.prompt_input == text.encode()
    assert run.only_input.prompt_input == b"one <fim_middle>", "a run is tried again if the model was dead"


def test_its_tokens_are_counted_as_c_is_given_them(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[bytes, Counted]] = []
    monkeypatch.setattr(prompt_length, "check_tokens", lambda *given: counted.append(given[2:4]))
    plain_prompts.check_length(run)
    run.suffix = "two"
    plain_prompts.check_length(run)
    assert counted == [
        (b"one <fim_middle>", Counted((), bare=True)),
        (b"<fim_prefix>one <fim_middle><fim_suffix>two<fim_middle>", Counted(((0, 12), (28, 40), (43, 55)), bare=True)),
    ]


def test_a_model_without_the_markers_fills_in_no_gap(run: Any) -> None:
    run.suffix = "two"
    Path(run.model.tokenizer, "tokenizer_config.json").write_text(TOKENS % "")
    with pytest.raises(InvalidParams, match="suffix") as refused, plain_prompts.wrapped(run, goes_on=False):
        raise AssertionError("it does not run")
    assert refused.value.data["path"] == "$.suffix"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"messages": []}, "$.bare"),
        ({"parameters": SimpleNamespace(keep_history=1)}, "$.bare"),
        ({"suffix": "<image>"}, "$.suffix"),
        ({"suffix": "a", "messages": []}, "$.suffix"),
        ({"suffix": "a", "only_input": SimpleNamespace(input_type=RKLLMInputType.RKLLM_INPUT_TOKEN)}, "$.suffix"),
    ],
)
def test_what_is_no_prompt_by_itself_is_refused(run: Any, change: dict[str, Any], path: str) -> None:
    bare.check(run)
    vars(run).update(change)
    with pytest.raises(InvalidParams) as refused:
        bare.check(run)
    assert refused.value.data["path"] == path
