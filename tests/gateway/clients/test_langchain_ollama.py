"""LangChain's client of Ollama's protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.clients import weather
from tests.gateway.clients.langchain import call_and_tell

if TYPE_CHECKING:
    from langchain_ollama import ChatOllama

# What others' libraries do with each other is theirs to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def make(address: str) -> Callable[..., ChatOllama]:
    from langchain_ollama import ChatOllama

    def made(**options: Any) -> ChatOllama:
        return ChatOllama(base_url=address, model="demo", temperature=0, **options)

    return made


@pytest.fixture(scope="module")
def chat(make: Callable[..., ChatOllama]) -> ChatOllama:
    # As it is told, it looks first whether there is this model.
    return make(validate_model_on_init=True, num_ctx=2048, keep_alive="5m", num_predict=100, repeat_last_n=64)


def test_a_stream_and_a_whole_answer_say_the_same(chat: ChatOllama) -> None:
    whole = chat.invoke("Hello")
    first, *others = chat.stream("Hello")
    for chunk in others:
        first += chunk
    assert first.content == whole.content
    assert first.response_metadata["done_reason"] == "stop"
    assert first.usage_metadata == whole.usage_metadata


def test_thoughts_come_apart(make: Callable[..., ChatOllama]) -> None:
    question = "What is the capital of Norway?"
    said = make(reasoning=True).invoke(question)
    assert said.additional_kwargs["reasoning_content"]
    assert "think" not in said.text
    assert "reasoning_content" not in make(reasoning=False).invoke(question).additional_kwargs


def test_a_function_is_called_and_its_result_told(chat: ChatOllama) -> None:
    call_and_tell(chat.bind_tools([weather.TOOL]))


def test_an_answer_has_the_structure_that_is_wanted(chat: ChatOllama) -> None:
    wanted: Any = {"title": weather.NAME, "description": weather.DESCRIPTION, **weather.SCHEMA}
    called = chat.with_structured_output(wanted, method="function_calling").invoke(weather.QUESTION)
    assert called == weather.ARGUMENTS
    lamp: Any = {"title": "Lamp", "type": "object", "properties": {"state": {"enum": ["on", "off"]}}}
    in_form: Any = chat.with_structured_output(
        {**lamp, "required": ["state"], "additionalProperties": False}, method="json_schema"
    ).invoke("Hello")
    assert in_form["state"] in ("on", "off")


def test_another_model_is_not_there(make: Callable[..., ChatOllama]) -> None:
    import ollama

    with pytest.raises(ollama.ResponseError, match="There is no model other"):
        make().invoke("Hello", model="other")


def test_texts_become_vectors(address: str) -> None:
    from langchain_ollama import OllamaEmbeddings

    first, second = OllamaEmbeddings(base_url=address, model="demo").embed_documents(["Hello", weather.QUESTION])
    assert len(first) == len(second) > 1
    assert first != second
