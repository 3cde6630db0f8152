"""The pictures of a request for a model."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
import trio
from PIL import Image
from trio.testing import wait_all_tasks_blocked

from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.pictures import fetching
from rkllmd.gateway.pictures.fetching import Reach
from rkllmd.gateway.pictures.given import Picture
from rkllmd.gateway.pictures.showing import MOST_PICTURES, Pictures

ENCODER = {"width": 2, "height": 1, "fit": "stretch"}


def red(where: str = "here", **given: Any) -> Picture:
    target = io.BytesIO()
    Image.new("RGB", (2, 1), (255, 0, 0)).save(target, "PNG")
    return Picture(where, target.getvalue(), **given)


def asked(*pictures: Picture) -> dict[str, Any]:
    text = {"type": "text", "text": "What?"}
    return {
        "messages": [
            {"role": "system", "content": "Look."},
            {"role": "user", "content": [*(picture.part() for picture in pictures), text]},
        ],
        "seed": 1,
    }


async def test_pictures_become_pixels_and_the_rest_stays() -> None:
    given = asked(red())
    found = await Pictures().shown(given, "qwen", ENCODER)
    data = base64.b64encode(b"\xff\0\0" * 2).decode()
    image = {"pixels": {"data": data, "dtype": "uint8", "shape": [1, 2, 3]}}
    assert found["messages"][1]["content"] == [{"type": "image", "image": image}, {"type": "text", "text": "What?"}]
    assert (found["messages"][0], found["seed"]) == (given["messages"][0], 1)
    for encoder in (None, ENCODER):
        assert await Pictures().shown(asked(), "qwen", encoder) == asked()


async def test_a_model_that_sees_nothing_is_named_with_the_field() -> None:
    with pytest.raises(WrongField, match="here is a picture, and the model qwen takes text only"):
        await Pictures().shown(asked(red()), "qwen", None)


@pytest.mark.parametrize(
    ("pictures", "name"),
    [
        ([red("first"), Picture("second", b"nothing")], "second"),
        ([red()] * MOST_PICTURES + [red("last")], "last"),
        ([Picture("far", address="http://127.0.0.1/a.png")], "far"),
    ],
)
async def test_one_that_can_not_be_shown_is_named(pictures: list[Picture], name: str) -> None:
    with pytest.raises(WrongField) as refused:
        await Pictures().shown(asked(*pictures), "qwen", ENCODER)
    assert refused.value.name == name


async def test_few_files_are_held_that_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    fetching_now, most, release = 0, 0, trio.Event()

    async def fetch(address: str, reach: Reach | None) -> bytes:
        nonlocal fetching_now, most
        fetching_now += 1
        most = max(most, fetching_now)
        await release.wait()
        fetching_now -= 1
        return red().file

    monkeypatch.setattr(fetching, "fetch", fetch)
    pictures = Pictures(Reach.ANY)
    found: list[dict[str, Any]] = []

    async def show() -> None:
        found.append(await pictures.pixels(Picture("here", address="http://example.org/a.png"), ENCODER))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(show)
            await wait_all_tasks_blocked()
            release.set()
    assert (len(found), most) == (50, 8)
