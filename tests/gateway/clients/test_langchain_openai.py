"""LangChain's client of OpenAI's protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.clients import weather
from tests.gateway.clients.langchain import call_and_tell

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI

# What others' libraries do with each other is theirs to mend.
pytestmark = pytest.mark.filterwarnings("ignore")
KEY: Any = "none"  # they make a SecretStr of it
LAMP: Any = {
    "title": "Lamp",
    "description": "A lamp.",
    "type": "object",
    "properties": {"state": {"enum": ["on", "off"]}, "bright": {"type": "boolean"}},
    "required": ["state", "bright"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def make() -> Callable[..., ChatOpenAI]:
    from langchain_openai import ChatOpenAI

    def made(address: str, **options: Any) -> ChatOpenAI:
        return ChatOpenAI(base_url=f"{address}/v1", api_key=KEY, model="demo", **options)

    return made


@pytest.fixture(scope="module")
def chat(make: Callable[..., ChatOpenAI], address: str) -> ChatOpenAI:
    return make(address, temperature=0, max_retries=0)


def test_a_stream_and_a_whole_answer_say_the_same(make: Callable[..., ChatOpenAI], address: str) -> None:
    chat = make(address, temperature=0, stream_usage=True)
    whole = chat.invoke("Hello")
    first, *others = chat.stream("Hello")
    added = first
    for chunk in others:
        added += chunk
    assert added.content == whole.content
    assert added.usage_metadata is not None
    assert whole.usage_metadata is not None
    assert added.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"] > 1
    assert added.response_metadata["finish_reason"] == "stop"


def test_a_limit_ends_an_answer(make: Callable[..., ChatOpenAI], address: str) -> None:
    # It is sent as max_completion_tokens.
    said = make(address, max_tokens=2).invoke("Hello")
    assert said.response_metadata["finish_reason"] == "length"


@pytest.mark.parametrize("options", [{}, {"parallel_tool_calls": False}])
def test_a_function_is_called_and_its_result_told(chat: ChatOpenAI, options: dict[str, Any]) -> None:
    bound = chat.bind_tools([weather.TOOL], **options)
    question = call_and_tell(bound)
    streamed = [call for chunk in bound.stream([question]) for call in chunk.tool_calls]
    assert [item["args"] for item in streamed if item["name"]] == [weather.ARGUMENTS]


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
@pytest.mark.parametrize("strict", [None, True])
def test_an_answer_has_the_structure_that_is_wanted(chat: ChatOpenAI, method: Any, strict: bool | None) -> None:
    lamp: Any = chat.with_structured_output(LAMP, method=method, strict=strict).invoke("Hello")
    assert lamp["state"] in ("on", "off")
    assert isinstance(lamp["bright"], bool)


def test_several_questions_at_once(chat: ChatOpenAI) -> None:
    said = chat.batch(["Hello", weather.QUESTION, "Hello"])
    assert said[0].content == said[2].content != said[1].content


def test_another_model_is_not_found(chat: ChatOpenAI) -> None:
    import openai

    with pytest.raises(openai.NotFoundError, match="There is no model other"):
        chat.invoke("Hello", model="other")


def test_a_text_is_gone_on_with(address: str) -> None:
    from langchain_openai import OpenAI

    language = OpenAI(base_url=f"{address}/v1", api_key=KEY, model="demo", temperature=0, max_tokens=5)
    assert language.invoke("One morning") == "".join(language.stream("One morning")) != ""


def test_several_texts_are_gone_on_with(address: str) -> None:
    from langchain_openai import OpenAI

    language = OpenAI(base_url=f"{address}/v1", api_key=KEY, model="demo", temperature=0, max_tokens=5)
    texts = ["One morning", "The king"]
    found = language.generate(texts).generations
    assert [answers[0].text for answers in found] == [language.invoke(text) for text in texts]


def test_the_responses_protocol_says_the_same(make: Callable[..., ChatOpenAI], address: str, chat: ChatOpenAI) -> None:
    responding = make(address, temperature=0, use_responses_api=True)
    said = chat.invoke("Hello").text
    assert responding.invoke("Hello").text == said
    assert "".join(chunk.text for chunk in responding.stream("Hello")) == said


def test_texts_become_vectors_and_foreign_tokens_are_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import openai
    import tiktoken
    from langchain_openai import OpenAIEmbeddings

    def made(**options: Any) -> OpenAIEmbeddings:
        return OpenAIEmbeddings(base_url=f"{address}/v1", api_key=KEY, model="demo", **options)

    first, second = made(check_embedding_ctx_length=False).embed_documents(["Hello", weather.QUESTION])
    assert len(first) == len(second) > 1
    assert first != second
    # Left to itself it sends the ids of OpenAI's tokenizer, which it has from the internet.
    ranks = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding("bytes", pat_str=".", mergeable_ranks=ranks, special_tokens={})
    monkeypatch.setattr(tiktoken, "encoding_for_model", lambda _: encoding)
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        made().embed_query("Hello")
