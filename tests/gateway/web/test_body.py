"""A body that is no JSON is refused with what it is not."""

from __future__ import annotations

import codecs
import gzip
from typing import Any

import pytest
from starlette.types import Message

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.web import body

JSON = b'{"a": "\xc3\xb6"}'


async def read(given: bytes, *headers: tuple[bytes, bytes]) -> Any:
    async def receive() -> Message:
        return {"type": "http.request", "body": given}

    return await body.read_json({"headers": headers}, receive)


@pytest.mark.parametrize("given", [JSON, codecs.BOM_UTF8 + JSON])
async def test_json_is_read_also_with_a_mark_of_its_byte_order(given: bytes) -> None:
    assert await read(given, (b"content-encoding", b"Identity")) == {"a": "ö"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"", "The request has no body: send a JSON object."),
        (codecs.BOM_UTF8, "The request has no body: send a JSON object."),
        (b'{"a": "\xf6"}', "The body of the request is not in UTF-8, from byte 7 on."),
        ("{}".encode("utf-16"), "The body of the request is not in UTF-8, from byte 0 on."),
        (b"{a", "The body of the request is not JSON: unexpected character"),
    ],
)
async def test_what_it_is_not_is_said(given: bytes, says: str) -> None:
    with pytest.raises(Failure) as refused:
        await read(given)
    assert (refused.value.status, refused.value.kind) == (400, "ParseError")
    assert refused.value.message.startswith(says)


async def test_what_is_compressed_is_refused_as_that() -> None:
    with pytest.raises(Failure, match="compressed: send it without Content-Encoding") as refused:
        await read(gzip.compress(JSON), (b"content-encoding", b"gzip"))
    assert refused.value.status == 415
