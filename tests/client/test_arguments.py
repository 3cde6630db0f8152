"""Keywords of the Python clients: those of the daemon, and mistakes in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from rkllmd.client import Client, open_client
from rkllmd.client.arguments import MEMBERS
from rkllmd.wire import members
from tests.client.played import Played
from tests.daemon import Daemon


def test_the_known_members_are_those_of_the_daemon() -> None:
    assert {*MEMBERS, "fds"} == members.MEMBERS


@pytest.mark.parametrize(
    ("keyword", "said"),
    [
        ("tiemout_ms", "did you mean 'timeout_ms'?"),
        ("reply_fd", "did you mean 'reply_fds'?"),
        ("Stream", "did you mean 'stream'?"),
        ("max_new_tokens", "goes into params"),
        ("prompt", "known are first_token_timeout_ms, priority"),
    ],
)
def test_an_unknown_keyword_is_refused_and_nothing_sent(played: tuple[Client, Played], keyword: str, said: str) -> None:
    client, daemon = played
    methods: list[Callable[..., Any]] = [client.call, client.send, client.stream]
    for method in methods:
        with pytest.raises(TypeError, match=keyword) as caught:
            method("rkllm.run", {"prompt": "Hello"}, **{keyword: 5})
        assert said in str(caught.value)
    call_id = client.send("x")
    assert daemon.request() == {"jsonrpc": "2.0", "id": call_id, "method": "x"}, "the first that comes"


async def test_trio_an_unknown_keyword_is_refused(daemon: Daemon) -> None:
    async with open_client(daemon.path) as client:
        with pytest.raises(TypeError, match="did you mean 'timeout_ms'"):
            await client.call("server.status", tiemout_ms=5)  # type: ignore[call-arg]  # what is tested
        with pytest.raises(TypeError, match="did you mean 'session'"):
            client.stream("x", sesion="kitchen")  # type: ignore[call-arg]  # before the first is asked for
        assert (await client.call("server.status"))["state"] == "idle"


def test_a_keyword_that_is_none_is_as_left_out(played: tuple[Client, Played]) -> None:
    client, daemon = played
    client.send("x", session=None, timeout_ms=7)
    assert daemon.request() == {"jsonrpc": "2.0", "id": 1, "method": "x", "timeout_ms": 7}


def test_paths_in_params(played: tuple[Client, Played]) -> None:
    client, daemon = played
    client.send("rkllm.init", {"model_path": Path("/models/ä.gguf"), "more": [Path("a")]})
    assert daemon.request()["params"] == {"model_path": "/models/ä.gguf", "more": ["a"]}


def test_mappings_in_params(played: tuple[Client, Played]) -> None:
    client, daemon = played
    client.send("x", MappingProxyType({"a": MappingProxyType({"b": 1})}))
    assert daemon.request()["params"] == {"a": {"b": 1}}


@pytest.mark.parametrize("value", [object(), {1, 2}, iter([1])])
def test_what_can_not_be_sent_is_refused(played: tuple[Client, Played], value: object) -> None:
    client, daemon = played
    with pytest.raises(TypeError, match="is no JSON, no path and no tensor"):
        client.send("x", {"a": [value]})
    call_id = client.send("x")
    assert daemon.request()["id"] == call_id, "the first that comes"


def test_a_model_is_loaded_by_its_path(start: Callable[..., Daemon]) -> None:
    daemon = start()
    with Client(Path(daemon.path)) as client:
        assert client.call("rkllm.init", {"model_path": daemon.model})["success"] is True
