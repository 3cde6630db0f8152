"""Addresses as people write them, and what is answered where the gateway itself has made a mistake."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from rkllmd.gateway.access import Access
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.upstream.wire import Wire
from rkllmd.gateway.web.routes import application
from tests.gateway.web.asking import Client

HOST = [(b"host", b"127.0.0.1:8080")]


class Faulty(Upstream):
    """A daemon to which no connection can be made, for no reason that anybody foresaw."""

    async def wire(self) -> Wire:
        """Fail."""
        raise ZeroDivisionError


def client(path: str, body: Any = None, **scope: Any) -> Client:
    app = application(Faulty(), Access())
    return Client(app, body, path=path, headers=HOST, query_string=b"", root_path="", **scope)


@pytest.mark.parametrize("path", ["/api/version", "/api/version/", "//api/version", "http://127.0.0.1/api/version"])
async def test_an_address_is_served_however_it_is_written(path: str) -> None:
    asked = client(path, method="GET")
    await asked.ask()
    assert asked.sent[0]["status"] == 200
    assert "version" in orjson.loads(asked.text)


@pytest.mark.parametrize(
    ("path", "shape"), [("/v1/chat/completions", "param"), ("/api/chat", None), ("/v1/messages", "type")]
)
async def test_a_mistake_of_the_gateway_is_an_error_in_the_clients_shape(
    path: str, shape: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = client(
        path, {"max_tokens": 1, "messages": [{"role": "user", "content": ""}]} if shape else {"messages": []}
    )
    with pytest.raises(ZeroDivisionError):
        await asked.ask()
    assert (asked.sent[0]["status"], (b"x-should-retry", b"false") in asked.sent[0]["headers"]) == (500, True)
    error = orjson.loads(asked.text)["error"]
    assert "made a mistake" in (error if shape is None else error["message"])
    assert shape is None or shape in error
    assert capsys.readouterr().err == f"rkllmd gateway: POST '{path}' has failed:\n"
