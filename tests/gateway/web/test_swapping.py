"""Models that the configuration declares: listed whether they are loaded or not, loaded for who names them.

The runtime is an old one, without limits of a run: the trial of Home Assistant's llama_cpp integration succeeds there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.daemon import Daemon, Start, until
from tests.gateway.process import gateway

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def daemon(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory) -> Daemon:
    """Return a daemon that has room for one model and knows three, of which two may be swapped."""
    folder = tmp_path_factory.mktemp("models")
    tables = []
    for name in ("a", "b", "fixed"):
        (folder / f"{name}.rkllm").touch()
        swap = "" if name == "fixed" else "swap = true\n"
        tables.append(f'[models.{name}]\nmodel_path = "{folder}/{name}.rkllm"\n{swap}')
    (folder / "rkllmd.toml").write_text("".join(tables))
    found: Daemon = start_for_module("--config", str(folder / "rkllmd.toml"), changing=True, version="1.2.3")
    return found


@pytest.fixture(scope="module")
def http(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with gateway(daemon.path, tmp_path_factory.mktemp("gateway")) as address, httpx.Client(base_url=address) as found:
        found.timeout = httpx.Timeout(60)
        yield found


@pytest.fixture(scope="module")
def client(http: httpx.Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="none", max_retries=0) as found:
        yield found


def states(http: httpx.Client) -> dict[str, str]:
    return {item["id"]: item["status"]["value"] for item in http.get("/v1/models").json()["data"]}


def test_a_request_loads_the_model_that_it_names(client: openai.OpenAI, http: httpx.Client) -> None:
    assert states(http) == {"a": "unloaded", "b": "unloaded", "fixed": "unloaded"}
    assert http.get("/ready").json()["models"] == ["a", "b"]
    first = client.chat.completions.create(model="a", messages=HELLO)
    assert "Hello" in (first.choices[0].message.content or "")
    assert states(http) == {"a": "loaded", "b": "unloaded", "fixed": "unloaded"}
    assert len(list(client.chat.completions.create(model="b", messages=HELLO, stream=True))) > 2
    assert states(http) == {"a": "sleeping", "b": "loaded", "fixed": "unloaded"}
    again = client.chat.completions.create(model="a", messages=HELLO)
    assert again.choices[0].message == first.choices[0].message
    with pytest.raises(openai.NotFoundError, match="swap = true"):
        client.chat.completions.create(model="fixed", messages=HELLO)


def test_models_are_loaded_and_unloaded_as_by_llama_cpps_server(daemon: Daemon, http: httpx.Client) -> None:
    daemon.hold()
    daemon.play(hold__rkllm_init=1)
    inits = daemon.calls("rkllm_init")
    try:
        assert http.post("/models/load", json={"model": "b"}).json() == {"success": True}
        daemon.wait_enter("rkllm_init", inits + 1)
        assert states(http)["b"] == "loading"
        # What Home Assistant waits five seconds for.
        assert [item["name"] for item in http.get("/api/tags").json()["models"]] == ["a", "b", "fixed"]
        assert http.get("/api/ps").json()["models"] == []
    finally:
        daemon.let_go()
    until("the model is loaded", lambda: states(http)["b"] == "loaded")
    assert http.get("/props", params={"model": "b"}).json()["model_alias"] == "b"
    assert http.post("/v1/models/unload", json={"model": "b"}).json() == {"success": True}
    until("the model is unloaded", lambda: states(http)["b"] == "unloaded")
    refused = [http.post("/models/unload", json={"model": "b"}), http.post("/models/load", json={"model": "c"})]
    assert [answer.status_code for answer in refused] == [400, 404]
    assert all(answer.json()["error"]["param"] == "model" for answer in refused)


def test_models_are_loaded_and_unloaded_as_by_ollama(http: httpx.Client) -> None:
    def ask(address: str, **asked: Any) -> tuple[Any, bool]:
        found = http.post(address, json=asked)
        assert found.status_code == 200, found.text
        answer = found.json()
        return answer["done_reason"], answer["done"]

    assert ask("/api/generate", model="fixed") == ("load", True)
    assert states(http)["fixed"] == "loaded"
    assert ask("/api/chat", model="fixed", messages=[], keep_alive="10m") == ("load", True)
    assert ask("/api/generate", model="fixed", prompt="", keep_alive=0) == ("unload", True)
    assert states(http)["fixed"] == "unloaded"
    assert ask("/api/chat", model="fixed", messages=[], keep_alive=0) == ("unload", True)
    for model in ("a", "b", "a"):
        assert ask("/api/generate", model=model) == ("load", True)
        assert states(http)[model] == "loaded", "also one that slept"


def test_a_model_that_comes_again_leaves_after_an_answer_that_says_so(http: httpx.Client) -> None:
    for streams in (False, True):
        asked = {"model": "a", "messages": HELLO, "keep_alive": 0, "stream": streams}
        last = http.post("/api/chat", json=asked).text.splitlines()[-1]
        assert json.loads(last)["done_reason"] == "stop"
        until("it is unloaded", lambda: states(http)["a"] == "unloaded")
    http.post("/api/chat", json={"model": "fixed"})
    http.post("/api/chat", json={"model": "fixed", "messages": HELLO, "keep_alive": 0})
    http.post("/api/chat", json={"model": "b", "messages": HELLO})
    assert states(http)["fixed"] == "sleeping", "nobody would load it again"
    refused = http.post("/api/generate", json={"model": "other"})
    assert (refused.status_code, "There is no model other" in refused.json()["error"]) == (404, True)


@pytest.mark.parametrize(("address", "name"), [("/api/embed", "input"), ("/api/embeddings", "prompt")])
def test_requests_for_vectors_say_how_long_a_model_stays(http: httpx.Client, address: str, name: str) -> None:
    for model, state in states(http).items():
        if state != "unloaded":
            http.post("/models/unload", json={"model": model})
    until("nothing is left", lambda: set(states(http).values()) == {"unloaded"})
    assert http.post(address, json={"model": "a"}).status_code == 200
    assert states(http)["a"] == "loaded"
    stays = http.post(address, json={"model": "a", name: "rain", "keep_alive": "5m"}).json()
    assert states(http)["a"] == "loaded"
    assert len(stays.get("embedding") or stays["embeddings"][0]) > 1
    assert http.post(address, json={"model": "a", name: "rain", "keep_alive": 0}).status_code == 200
    until("it is unloaded", lambda: states(http)["a"] == "unloaded")
    http.post(address, json={"model": "a"})
    http.post(address, json={"model": "a", "keep_alive": "0s"})
    assert states(http)["a"] == "unloaded"


def test_the_trial_of_home_assistant_succeeds_where_c_has_no_limit_of_a_run(client: openai.OpenAI) -> None:
    function = {"name": "get_time", "description": "The time.", "parameters": {"type": "object", "properties": {}}}
    asked: Any = {
        "model": "a",
        "messages": HELLO,
        "max_tokens": 3,
        "tools": [{"type": "function", "function": function}],
    }
    assert client.chat.completions.create(**asked).choices[0].finish_reason == "length"
    *_, end = client.chat.completions.create(**asked, stream=True)
    assert end.choices[0].finish_reason == "length"
