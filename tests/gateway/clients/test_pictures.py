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

QUESTION = "Repeat after me: "


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


@pytest.mark.parametrize("digit", [3, 7])
def test_openais_client_shows_a_digit_and_goes_on(address: str, digit: int) -> None:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        said: Any = look(url(png(digit)))
        first = client.chat.completions.create(model="demo", messages=said, temperature=0)
        assert first.choices[0].message.content == str(digit)
        said += [
            {"role": "assistant", "content": first.choices[0].message.content},
            {"role": "user", "content": "What is 2 plus 2?"},
        ]
        chunks = client.chat.completions.create(
            model="demo", messages=said, stream=True, stream_options={"include_usage": True}
        )
        usage = list(chunks)[-1].usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        assert first.usage is not None
        assert (usage.prompt_tokens_details.cached_tokens or 0) > first.usage.prompt_tokens


def test_ollamas_client_shows_one_too(address: str) -> None:
    said: Any = [{"role": "user", "content": " plus 4", "images": [png(3)]}]
    with ollama.Client(host=address) as client:
        chat = client.chat(model="demo", messages=said, options={"temperature": 0})
        generated = client.generate(model="demo", prompt=" plus 4", images=[png(3)], options={"temperature": 0})
        assert chat.message.content == generated.response == "3 + 4 = 7."
        assert "vision" in (client.show("demo").capabilities or ())


def test_one_in_anthropics_form_is_seen_too(address: str) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png(3)).decode()}
    parts = [{"type": "text", "text": QUESTION}, {"type": "image", "source": source}]
    asked = {"max_tokens": 8, "temperature": 0, "messages": [{"role": "user", "content": parts}]}
    answer = httpx.post(f"{address}/v1/messages", json=asked, timeout=60).json()
    assert answer["content"][0]["text"] == "3"


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
