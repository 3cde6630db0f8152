"""Ollama's own client: what is not a conversation (tests/gateway/test_clients.py has those)."""

from __future__ import annotations

from collections.abc import Iterator
from math import hypot, isclose
from typing import TYPE_CHECKING

import pytest

from tests.gateway.clients import weather

if TYPE_CHECKING:
    import ollama


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[ollama.Client]:
    import ollama

    with ollama.Client(host=address) as found:
        yield found


def test_texts_become_vectors(client: ollama.Client) -> None:
    found = client.embed("demo", ["Hello", weather.QUESTION])
    first, second = found.embeddings
    assert len(first) == len(second) > 1
    assert isclose(hypot(*first), 1, rel_tol=1e-5)
    assert (found.prompt_eval_count or 0) > 2
    again = client.embeddings("demo", "Hello").embedding
    assert all(isclose(one, other, abs_tol=1e-4) for one, other in zip(again, first, strict=True))


def test_a_prompt_may_be_given_as_it_is(client: ollama.Client) -> None:
    import ollama

    asked = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    whole = client.generate("demo", "Hello", think=False, options={"temperature": 0})
    raw = client.generate("demo", asked, raw=True, options={"temperature": 0, "num_predict": 20})
    assert raw.prompt_eval_count != whole.prompt_eval_count
    with pytest.raises(ollama.ResponseError, match="fill in"):  # it was not trained to fill gaps
        client.generate("demo", "a", suffix="c")


def test_how_likely_each_token_was(client: ollama.Client) -> None:
    options = {"temperature": 0, "num_predict": 4}
    whole = client.generate("demo", "Hello", think=False, logprobs=True, top_logprobs=1, options=options)
    assert whole.logprobs is not None
    assert "".join(token.token for token in whole.logprobs) == whole.response
    asked = [{"role": "user", "content": "Hello"}]
    lines = client.chat("demo", asked, think=False, logprobs=True, options=options, stream=True)
    assert [token.token for line in lines for token in line.logprobs or ()] == [token.token for token in whole.logprobs]


def test_a_model_that_is_loaded_is_loaded(client: ollama.Client) -> None:
    found = client.generate("demo")
    assert (found.response, found.done, found.done_reason) == ("", True, "load")


def test_nothing_is_downloaded(client: ollama.Client) -> None:
    import ollama

    with pytest.raises(ollama.ResponseError, match=r"^POST /api/pull is not served here"):
        client.pull("demo")
