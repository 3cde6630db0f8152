"""Pictures from people's clients: the demo models read a digit."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import ollama
import openai
import pytest
from PIL import Image

from rkllmd.portable.demo.vision.draw import draw_digit

QUESTION = "which digit is this?"


def png(digit: int) -> bytes:
    """Return a photograph of a digit, larger than the encoder takes it."""
    target = io.BytesIO()
    draw_digit(digit, seed=digit).resize((480, 480), Image.Resampling.BICUBIC).save(target, "PNG")
    return target.getvalue()


def url(file: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(file).decode()}"


def look(*pictures: str) -> Any:
    shown = [{"type": "image_url", "image_url": {"url": item, "detail": "low"}} for item in pictures]
    return [{"role": "user", "content": [{"type": "text", "text": QUESTION}, *shown]}]


def answer(digit: int) -> str:
    return f"This is the digit {digit}."


@pytest.mark.parametrize("digit", range(10))
def test_openais_client_asks_which_digit_it_is(address: str, digit: int) -> None:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        said: Any = look(url(png(digit)))
        first = client.chat.completions.create(model="demo", messages=said, temperature=0)
        assert first.choices[0].message.content == answer(digit)
        said[0]["content"].reverse()  # the picture, then the words
        turned = client.chat.completions.create(model="demo", messages=said, temperature=0)
        assert turned.choices[0].message.content == answer(digit)


def test_openais_client_goes_on_about_another_one(address: str) -> None:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        said: Any = look(url(png(3)))
        first = client.chat.completions.create(model="demo", messages=said, temperature=0)
        another = {"type": "image_url", "image_url": {"url": url(png(7))}}
        said += [
            {"role": "assistant", "content": first.choices[0].message.content},
            {"role": "user", "content": [{"type": "text", "text": "And this one?"}, another]},
        ]
        second = client.chat.completions.create(model="demo", messages=said, temperature=0)
        assert second.choices[0].message.content == answer(7)
        said += [
            {"role": "assistant", "content": second.choices[0].message.content},
            {"role": "user", "content": "What is 2 plus 2?"},
        ]
        chunks = list(
            client.chat.completions.create(
                model="demo", messages=said, temperature=0, stream=True, stream_options={"include_usage": True}
            )
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "2 + 2 = 4."
        usage = chunks[-1].usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        assert second.usage is not None
        assert (usage.prompt_tokens_details.cached_tokens or 0) > second.usage.prompt_tokens


def test_without_a_picture_the_model_says_so(address: str) -> None:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        said: Any = [{"role": "user", "content": QUESTION}]
        asked = client.chat.completions.create(model="demo", messages=said, temperature=0)
        assert asked.choices[0].message.content == "I see no picture."


@pytest.mark.parametrize("digit", range(10))
def test_ollamas_client_asks_too(address: str, digit: int) -> None:
    said: Any = [{"role": "user", "content": QUESTION, "images": [png(digit)]}]
    with ollama.Client(host=address) as client:
        chat = client.chat(model="demo", messages=said, options={"temperature": 0})
        generated = client.generate(model="demo", prompt=QUESTION, images=[png(digit)], options={"temperature": 0})
        assert chat.message.content == generated.response == answer(digit)


def test_a_model_that_sees_is_told_by_what_it_shows(address: str) -> None:
    said: Any = [{"role": "user", "content": " plus 4", "images": [png(3)]}]
    with ollama.Client(host=address) as client:
        chat = client.chat(model="demo", messages=said, options={"temperature": 0})
        assert chat.message.content == "3 + 4 = 7.", "a picture stands where the digit would"
        assert "vision" in (client.show("demo").capabilities or ())


@pytest.mark.parametrize("digit", range(10))
def test_anthropics_client_asks_too(address: str, digit: int) -> None:
    import anthropic  # takes a second of CPU

    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png(digit)).decode()}
    parts: Any = [{"type": "image", "source": source}, {"type": "text", "text": QUESTION}]
    with anthropic.Anthropic(base_url=address, api_key="none", max_retries=0) as client:
        for content in (parts, parts[::-1]):
            said: Any = [{"role": "user", "content": content}]
            message = client.messages.create(model="demo", max_tokens=32, messages=said, extra_body={"temperature": 0})
            assert [block.text for block in message.content if block.type == "text"] == [answer(digit)]


def test_what_can_not_be_shown_is_a_400_that_names_it(address: str) -> None:
    bomb = bytearray(png(3))
    bomb[16:24] = b"\0\0\xff\xff" * 2  # its width and height
    with httpx.Client(base_url=address, timeout=60) as http:
        for given in (url(bytes(bomb)), url(b"nothing"), "data:,", "http://127.0.0.1/a.png", "file:///etc/passwd"):
            answer = http.post("/v1/chat/completions", json={"messages": look(url(png(3)), given)})
            named = answer.json()["error"]["param"]
            assert (answer.status_code, named) == (400, "messages[0].content[2].image_url.url")
            assert answer.headers["x-should-retry"] == "false"
        entry = http.get("/v1/models").json()["data"][0]
        assert entry["architecture"]["input_modalities"] == ["text", "image"]
