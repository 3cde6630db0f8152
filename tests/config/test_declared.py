"""Models of the configuration file: checked when it is read, loaded by their names, with all that is declared."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from rkllmd.config import sources
from rkllmd.config.settings import Config
from rkllmd.config.values import ConfigError
from tests.daemon import Daemon, Start
from tests.wire_connection import kind

WHOLE = """
[models.qwen3]
model_path = "/models/qwen3.rkllm"
top_k = 40
lora_adapters = ["/models/lora/coding.rkllm", {lora_adapter_path = "/models/l2.rkllm", scale = 0.5}]
chat_template = {system_prompt = "Be brief.", prompt_prefix = "<u>"}
tokenizer = "/models/qwen3/"
autoload = true
idle_minutes = 0.5
pooling = "mean"

[models.qwen3.extend_param]
n_batch = 2
embed_flash = 1

[models."other-1.5b"]
model_path = "/models/other.rkllm"
"""


def read(directory: Path, text: str) -> Config:
    path = directory / "rkllmd.toml"
    path.write_text(text)
    return sources.load({"RKLLM_MODELS": "from the environment", "HOME": "/"}, {}, path)


def test_what_is_declared_is_what_is_there(tmp_path: Path) -> None:
    whole, other = read(tmp_path, WHOLE).models
    assert (whole.name, whole.path, whole.autoload, whole.idle_minutes) == ("qwen3", "/models/qwen3.rkllm", True, 0.5)
    assert whole.param == {
        "model_path": "/models/qwen3.rkllm",
        "top_k": 40,
        "extend_param": {"n_batch": 2, "embed_flash": 1},
    }
    assert whole.lora_adapters == (
        {"lora_adapter_path": "/models/lora/coding.rkllm"},
        {"lora_adapter_path": "/models/l2.rkllm", "scale": 0.5},
    )
    assert (whole.tokenizer, other.tokenizer) == ("/models/qwen3/", None)
    assert (whole.pooling, other.pooling) == ("mean", None)
    assert whole.chat_template == {"system_prompt": "Be brief.", "prompt_prefix": "<u>"}
    assert (other.name, other.autoload, other.idle_minutes, other.chat_template) == ("other-1.5b", False, None, None)


def test_what_the_client_gives_stands_before_what_is_declared(tmp_path: Path) -> None:
    model = read(tmp_path, WHOLE).models[0]
    assert model.merged({"model_path": "qwen3", "top_k": 1, "extend_param": {"n_batch": 1}}) == {
        "model_path": "/models/qwen3.rkllm",
        "top_k": 1,
        "extend_param": {"n_batch": 1, "embed_flash": 1},
    }
    assert model.merged({"model_path": "qwen3", "extend_param": None})["extend_param"] is None


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("top_k = 'x'", "models.m.top_k must be an integer, it is 'x'"),
        ("top_p = 1.5", "models.m.top_p must be at most 1, it is '1.5'"),
        ("temperature = nan", "models.m.temperature is nan, allowed is a finite number"),
        ("extend_param = {n_batch = 256}", "models.m.extend_param.n_batch must be at most 255, it is '256'"),
        ("temprature = 1", "models.m has the unknown field 'temprature' (did you mean 'temperature'?)"),
        ("autoload = 1", "models.m.autoload must be true or false, it is '1'"),
        ("idle_minutes = -1", "models.m.idle_minutes must be at least 0, it is '-1'"),
        ("idle_minutes = 999999", "models.m.idle_minutes must be at most 525600, it is '999999'"),
        ("tokenizer = 'qwen3'", "models.m.tokenizer is 'qwen3', allowed is an absolute path"),
        ("lora_adapters = 'x'", "models.m.lora_adapters must be an array, it is 'x'"),
        ("lora_adapters = ['x']", "models.m.lora_adapters[0] is 'x', allowed is an absolute path"),
        ("lora_adapters = [{scale = 1.0}]", "models.m.lora_adapters[0] needs lora_adapter_path"),
        ("lora_adapters = [5]", "models.m.lora_adapters[0] must be a string or an object, it is '5'"),
        ("chat_template = {prefix = 'x'}", "models.m.chat_template has the unknown field 'prefix'"),
        ("chat_template = {system_prompt = 5}", "models.m.chat_template.system_prompt must be a string, it is '5'"),
        ('chat_template = {system_prompt = "a\\u0000b"}', "models.m.chat_template.system_prompt has a NUL character"),
        ("tokenizer_path = 'x'", "models.m.tokenizer_path is 'x', allowed is an absolute path"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_value(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"[models.m]\nmodel_path = '/m'\n{table}\n")
    assert str(caught.value).startswith(f"{tmp_path}/rkllmd.toml: {said}")
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[models.m]\ntop_k = 1", "models.m needs model_path"),
        ("[models.m]\nmodel_path = 'm.rkllm'", "models.m.model_path is 'm.rkllm', allowed is an absolute path"),
        ("models = 5", "models is '5', allowed is a table for each model: [models.NAME]"),
        ("[models]\nm = 5", "allowed is a table for each model: [models.NAME]"),
        ("[models.'a/b']\nmodel_path = '/m'", "models has the name 'a/b', allowed are letters"),
        ("model_idle_minutes = -1", "model_idle_minutes is '-1', allowed is minutes from 0 to 525600"),
        ("model_idle_minutes = 'soon'", "model_idle_minutes is 'soon', allowed is minutes from 0 to 525600"),
        ("model_idle_minutes = true", "model_idle_minutes is 'True', allowed is minutes from 0 to 525600"),
    ],
)
def test_a_mistake_around_the_tables_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)


# --------------------------------------------------------------------------------------------------------------------
# Over the socket


def declare(directory: Path, *tables: str, settings: str = "") -> list[str]:
    """Write a configuration file beside two model files and an adapter; return the arguments that name it."""
    for name in ("a.rkllm", "b.rkllm", "coding.rkllm"):
        (directory / name).touch()
    text = "\n".join([settings, *tables]).replace("DIR", str(directory))
    (directory / "rkllmd.toml").write_text(text)
    return ["--config", str(directory / "rkllmd.toml")]


A = "[models.a]\nmodel_path = 'DIR/a.rkllm'\n"
B = "[models.b]\nmodel_path = 'DIR/b.rkllm'\n"


def models(daemon: Daemon) -> list[dict[str, Any]]:
    with daemon.connect() as wire:
        return list(wire.ask("server.status")["result"]["models"])


def test_a_name_stands_for_the_path_and_all_that_is_declared(start: Start, tmp_path: Path) -> None:
    more = "max_context_len = 1024\nlora_adapters = ['DIR/coding.rkllm']\nchat_template = {system_prompt = 'Be brief.'}"
    daemon = start(*declare(tmp_path, A + more, B))
    with daemon.connect() as wire:
        handle = wire.ask("rkllm.init", {"model_path": "a", "top_k": 1})["result"]["handle"]
        status = wire.ask("server.status")["result"]
        assert status["declared"] == ["a", "b"]
        (model,) = status["models"]
        assert (model["handle"], model["name"], model["state"]) == (handle, "a", "loaded")
        assert model["model_path"] == str(tmp_path / "a.rkllm")
        assert (model["max_context_len"], model["lora_adapters"]) == (1024, ["coding"])
        run = wire.ask(
            "rkllm.run", {"prompt": "Hi", "rkllm_infer_params": {"lora_params": {"lora_adapter_name": "coding"}}}
        )
        assert run["result"]["text"] == "<lora:coding>[system] Be brief. [user] Hi"
        loaded = wire.ask("rkllm.init", {"model_path": "b"})["error"]["data"]["loaded"]
        assert loaded == [{"handle": handle, "model_path": model["model_path"], "name": "a"}]


def test_what_the_client_gives_beside_the_name_reaches_c(start: Start, tmp_path: Path) -> None:
    daemon = start(*declare(tmp_path, A + "max_context_len = 1024\nextend_param = {n_batch = 2}"))
    with daemon.connect() as wire:
        wire.ask("rkllm.init", {"model_path": "a", "max_context_len": 2048})
        (model,) = wire.ask("server.status")["result"]["models"]
        assert (model["max_context_len"], model["n_batch"]) == (2048, 2)


def test_a_name_that_is_not_declared_is_refused_with_those_that_are(start: Start, tmp_path: Path) -> None:
    daemon = start(*declare(tmp_path, A, B))
    with daemon.connect() as wire:
        error = wire.ask("rkllm.init", {"model_path": "c"})["error"]
    assert (error["code"], error["data"]["path"], error["data"]["limit"]) == (-32602, "$.model_path", ["a", "b"])
    assert "declares no model 'c'; declared are a, b." in error["message"]
    assert daemon.calls("rkllm_init") == 0


@pytest.mark.parametrize("function", ["load_lora", "set_chat_template"])
def test_a_model_without_all_that_is_declared_is_unloaded_again(start: Start, tmp_path: Path, function: str) -> None:
    more = "lora_adapters = ['DIR/coding.rkllm']\nchat_template = {system_prompt = 'Be brief.'}"
    daemon = start(*declare(tmp_path, A + more), scenario={f"fault.rkllm_{function}": "fail@1"})
    with daemon.connect() as wire:
        error = wire.ask("rkllm.init", {"model_path": "a"})["error"]
        assert (error["data"]["kind"], error["data"]["function"]) == ("RuntimeError", f"rkllm_{function}")
        assert wire.ask("server.status")["result"]["models"] == []
        assert daemon.calls("rkllm_destroy") == 1
        assert "result" in wire.ask("rkllm.init", {"model_path": "a"})


def test_an_adapter_that_is_not_there_is_refused_before_the_load(start: Start, tmp_path: Path) -> None:
    daemon = start(*declare(tmp_path, A + "lora_adapters = ['DIR/absent.rkllm']"))
    with daemon.connect() as wire:
        error = wire.ask("rkllm.init", {"model_path": "a"})["error"]
    assert error["data"]["path"] == "models.a.lora_adapters[0]"
    assert daemon.calls("rkllm_init") == 0


def test_those_with_autoload_are_loaded_at_start_in_the_files_order(start: Start, tmp_path: Path) -> None:
    settings = "max_models = 2\nmodel = 'b'"
    daemon = start(*declare(tmp_path, A + "autoload = true", B + "autoload = true", settings=settings))
    daemon.wait_event("model_loaded", 2)
    assert [model["name"] for model in models(daemon)] == ["b", "a"], "model comes first, and each once"
    assert [model["base_domain_id"] for model in models(daemon)] == [0, 1]


def test_one_that_fails_at_start_does_not_keep_the_others(start: Start, tmp_path: Path) -> None:
    broken = "[models.broken]\nmodel_path = 'DIR/absent.rkllm'\nautoload = true"
    daemon = start(*declare(tmp_path, broken, B + "autoload = true"))
    daemon.wait_event("model_loaded")
    assert [model["name"] for model in models(daemon)] == ["b"]
    (event,) = daemon.events("model_not_loaded")
    assert event["model_path"] == "broken"


def test_the_command_line_takes_a_name(start: Start, tmp_path: Path) -> None:
    daemon = start(*declare(tmp_path, A, B), "--model", "b")
    daemon.wait_event("model_loaded")
    assert [model["name"] for model in models(daemon)] == ["b"]


def test_a_reload_takes_over_what_is_declared(start: Start, tmp_path: Path) -> None:
    daemon = start(*declare(tmp_path, A))
    declare(tmp_path, A, B)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_event("reloaded")
    with daemon.connect() as wire:
        assert wire.ask("server.status")["result"]["declared"] == ["a", "b"]
        assert kind(wire.ask("rkllm.init", {"model_path": "b"})) is None
