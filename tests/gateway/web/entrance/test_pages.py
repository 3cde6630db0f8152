"""What browsers are told of pages from elsewhere, by the gateway as it is put together."""

from __future__ import annotations

import pytest

from rkllmd.gateway.access import Access
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.web.routes import application
from tests.gateway.web.asking import Client

PAGE = "https://chat.example"
# What a browser asks before it sends JSON and a key.
WISH = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,authorization",
    "access-control-request-private-network": "true",
}


async def answered(
    path: str, method: str, origin: str, allowed: str = PAGE, **headers: str
) -> tuple[int, dict[str, str]]:
    """Return the status and the headers of an answer."""
    given = {"host": "127.0.0.1:8080", "origin": origin, **headers}
    lines = [(name.encode(), value.encode()) for name, value in given.items()]
    app = application(Upstream("/nowhere"), Access(origins=frozenset({allowed} if allowed else ())))
    asked = Client(app, path=path, method=method, headers=lines, query_string=b"", root_path="")
    await asked.ask()
    found = {name.decode().lower(): value.decode() for name, value in asked.sent[0]["headers"]}
    return asked.sent[0]["status"], found


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_page_that_is_allowed_may_send_json_and_its_key(method: str) -> None:
    wish = WISH | {"access-control-request-method": method}
    status, headers = await answered("/v1/chat/completions", "OPTIONS", PAGE, **wish)
    assert (status, headers["access-control-allow-origin"]) == (200, PAGE)
    assert method in headers["access-control-allow-methods"]
    assert headers["access-control-allow-headers"] == WISH["access-control-request-headers"]
    assert headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize(("origin", "allowed"), [("https://evil.example", PAGE), (PAGE, ""), ("http://[", PAGE)])
async def test_others_may_not(origin: str, allowed: str) -> None:
    for method, wish in (("OPTIONS", WISH), ("GET", {}), ("POST", {})):
        status, headers = await answered("/v1/models", method, origin, allowed, **wish)
        assert status in (400, 403), method
        assert "access-control-allow-origin" not in headers, method


async def test_a_page_sees_its_answers_and_when_to_ask_again() -> None:
    status, headers = await answered("/v1/models", "GET", PAGE)
    assert (status, headers["access-control-allow-origin"]) == (503, PAGE)
    assert "retry-after-ms" in headers["access-control-expose-headers"]
