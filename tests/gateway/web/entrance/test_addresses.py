"""An address that is written in another way is the same one."""

from __future__ import annotations

import pytest

from rkllmd.gateway.web.entrance.addresses import plain


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", "/"),
        ("", "/"),
        ("//", "/"),
        ("/v1/models", "/v1/models"),
        ("/v1/models/", "/v1/models"),
        ("/v1//chat/completions//", "/v1/chat/completions"),
        ("http://127.0.0.1:8080/health", "/health"),
        ("/https://npu.local/health", "/health"),
        ("http://127.0.0.1:8080", "/"),
        ("/v1/models/http", "/v1/models/http"),
        ("/status/http://a/b", "/status/http:/a/b"),
        ("/*", "/*"),
    ],
)
def test_an_address_is_known_in_one_way(path: str, found: str) -> None:
    assert plain(path) == found
