"""LiteLLM, in whose protocols the gateway answers three times: OpenAI's, Ollama's and Anthropic's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.clients import weather

# What others' libraries do with each other is theirs to mend.
pytestmark = pytest.mark.filterwarnings("ignore")
HELLO: Any = [{"role": "user", "content": "Hello"}]
QUESTION: Any = {"role": "user", "content": weather.QUESTION}
PROVIDERS = ["openai", "hosted_vllm", "ollama_chat", "anthropic"]
Complete = Callable[..., Any]


@pytest.fixture(scope="module")
def litellm() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        # Prices of models: it would look for new ones in the internet.
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        import litellm

    litellm.suppress_debug_info = True
    return litellm


@pytest.fixture(scope="module", params=PROVIDERS)
def complete(request: pytest.FixtureRequest, litellm: Any, address: str) -> Complete:
    base = address if request.param in ("ollama_chat", "anthropic") else f"{address}/v1"

    def made(name: str = "demo", **asked: Any) -> Any:
        options = {"api_base": base, "api_key": "none", "temperature": 0, "max_tokens": 100, "num_retries": 0}
        return litellm.completion(model=f"{request.param}/{name}", **options, **asked)

    return made


def test_a_stream_and_a_whole_answer_say_the_same(complete: Complete) -> None:
    whole = complete(messages=HELLO)
    chunks = list(complete(messages=HELLO, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.completion_tokens > 1


def test_a_function_is_called_and_its_result_told(complete: Complete) -> None:
    called = complete(messages=[QUESTION], tools=[weather.TOOL]).choices[0].message
    [call] = called.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == (weather.NAME, weather.ARGUMENTS)
    result = {"role": "tool", "tool_call_id": call.id, "content": weather.RESULT}
    said = complete(messages=[QUESTION, called.model_dump(), result], tools=[weather.TOOL])
    assert "21" in said.choices[0].message.content


def test_an_answer_has_the_structure_that_is_wanted(complete: Complete) -> None:
    schema = {"type": "object", "properties": {"state": {"enum": ["on", "off"]}}, "required": ["state"]}
    form = {"name": "lamp", "schema": {**schema, "additionalProperties": False}}
    said = complete(messages=HELLO, response_format={"type": "json_schema", "json_schema": form})
    assert json.loads(said.choices[0].message.content)["state"] in ("on", "off")


def test_another_model_is_not_found(complete: Complete) -> None:
    from litellm.exceptions import NotFoundError

    with pytest.raises(NotFoundError, match="There is no model other"):
        complete("other", messages=HELLO)


@pytest.mark.parametrize("provider", ["openai", "ollama"])
def test_texts_become_vectors(litellm: Any, address: str, provider: str) -> None:
    base = address if provider == "ollama" else f"{address}/v1"
    texts = ["Hello", weather.QUESTION]
    found = litellm.embedding(model=f"{provider}/demo", input=texts, api_base=base, api_key="none", num_retries=0)
    first, second = (item["embedding"] for item in found.data)
    assert len(first) == len(second) > 1
    assert first != second
