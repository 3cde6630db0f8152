"""Plain prompts of a model whose own template C has lost; over the socket in tests/server/conversations."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.abi.layouts.rkllm_common import RKLLMInputType
from rkllmd.errors import InvalidParams
from rkllmd.language.runs.rendering import plain_prompts

INPUT = LAYOUTS["1.3"]["RKLLMInput"]


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Return a run of one input for each kind that has a text, and one that has none."""
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}A:")
    prompt = INPUT(input_type=RKLLMInputType.RKLLM_INPUT_PROMPT, role=b"user")
    prompt.prompt_input = b"one"
    pictures = INPUT(input_type=RKLLMInputType.RKLLM_INPUT_MULTIMODAL)
    pictures.multimodal_input.prompt = b"<image>two"
    tokens = INPUT(input_type=RKLLMInputType.RKLLM_INPUT_TOKEN)
    model = SimpleNamespace(
        pointer=1, strings={}, is_bare=True, tokenizer=str(tmp_path), max_context_len=1000, callback_files=(None, None)
    )
    return SimpleNamespace(
        language=SimpleNamespace(runtime=SimpleNamespace(extension=None, name="simulator")),
        model=model,
        input=SimpleNamespace(json=[{}, {}, {}], c=[prompt, pictures, tokens]),
        is_bare=False,
    )


def texts(run: Any) -> list[bytes]:
    return [run.input.c[0].prompt_input, run.input.c[1].multimodal_input.prompt]


def test_the_template_stands_around_prompts_while_c_has_none(run: Any) -> None:
    with plain_prompts.wrapped(run, goes_on=False):
        assert texts(run) == [b"[user:one]A:", b"[user:<image>two]A:"]
    assert texts(run) == [b"one", b"<image>two"], "a run is tried again if the model was dead"


def test_a_conversation_that_goes_on_gets_what_follows_an_answer(run: Any) -> None:
    with plain_prompts.wrapped(run, goes_on=True):
        assert texts(run)[0] == b"][user:one]A:"


def test_c_that_has_its_template_is_left_alone(run: Any) -> None:
    run.model.is_bare = False
    with plain_prompts.wrapped(run, goes_on=False):
        assert texts(run) == [b"one", b"<image>two"]


def test_what_is_refused_leaves_the_prompts_as_they_are(run: Any) -> None:
    Path(run.model.tokenizer, "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    with pytest.raises(InvalidParams), plain_prompts.wrapped(run, goes_on=False):
        raise AssertionError("it does not run")
    assert texts(run) == [b"one", b"<image>two"]


@pytest.mark.parametrize(
    ("keep_history", "is_kept", "owner", "expected"),
    [(1, True, 7, True), (0, True, 7, False), (1, False, 7, False), (1, True, 8, False)],
)
def test_a_run_goes_on_where_the_cache_holds_its_clients_conversation(
    keep_history: int, is_kept: bool, owner: int, expected: bool
) -> None:
    run: Any = SimpleNamespace(
        parameters=SimpleNamespace(keep_history=keep_history),
        model=SimpleNamespace(kv_cache=SimpleNamespace(is_kept=is_kept, owner=owner)),
        invocation=SimpleNamespace(client=SimpleNamespace(number=7)),
    )
    assert plain_prompts.goes_on(run) is expected
