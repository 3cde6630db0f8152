"""rkllm.init: every field reaches C, what is left out is the runtime's default, and a failed load says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, simulator
from tests.rkllm.board import Board
from tests.rkllm.reporter import DEFAULTS_BY_LAYOUT, build_reporter, reported
from tests.wire_connection import Wire

# A value for each field that differs from every other field's and from the default, and how C prints it.
SENT: dict[str, Any] = {
    "max_context_len": 1024,
    "max_new_tokens": 1002,
    "top_k": 1003,
    "n_keep": 1004,
    "top_p": 0.75,
    "temperature": 1.25,
    "repeat_penalty": 1.375,
    "frequency_penalty": -0.5,
    "presence_penalty": 0.875,
    "mirostat": 1,
    "mirostat_tau": 3.5,
    "mirostat_eta": 0.1875,
    "skip_special_token": False,
    "is_async": False,
    "extend_param": {
        "base_domain_id": 5,
        "embed_flash": 0,
        "enabled_cpus_num": 3,
        "enabled_cpus_mask": 7,
        "n_batch": 4,
        "use_cross_attn": 1,
    },
}
SENT_BY_LAYOUT: dict[str, dict[str, Any]] = {
    "1.2": {**SENT, "img_start": "<s>", "img_end": "<e>", "img_content": "<c>é"},
    "1.3": {**SENT, "ignore_eos_token": False},
}


def _printed(param: dict[str, Any], prefix: str = "") -> dict[str, str]:
    lines: dict[str, str] = {}
    for name, value in param.items():
        if isinstance(value, dict):
            lines |= _printed(value, f"{name}.")
        else:
            lines[prefix + name] = str(int(value)) if isinstance(value, bool) else str(value)
    return lines


@pytest.fixture
def reporter(version: str, tmp_path: Path, start: Callable[..., Daemon]) -> Iterator[tuple[Wire, str]]:
    """Return a connection to a daemon on the library that prints what rkllm_init gets, and a model's path."""
    daemon = start(library=build_reporter(tmp_path, version))
    with daemon.connect() as wire:
        yield wire, str(daemon.model)


def test_every_field_reaches_c_in_every_form(reporter: tuple[Wire, str], version: str) -> None:
    wire, model = reporter
    param = {"model_path": model, **SENT_BY_LAYOUT[version[:3]]}
    expected = DEFAULTS_BY_LAYOUT[version[:3]] | _printed(param)
    assert len(expected) == len(_printed(param)) + (3 if version[:3] == "1.3" else 0), "every field is sent"
    rest = {name: value for name, value in param.items() if name != "model_path"}
    forms = {
        "positional": [param],
        "positional with C's": [None, param, None],
        "named": {"param": param},
        "named with C's": {"handle": None, "param": param, "callback": None},
        "flat": param,
        "flat and param": {"model_path": model, "param": rest},
    }
    for form, params in forms.items():
        answer = wire.ask("rkllm.init", params)
        assert reported(answer["error"]) == expected, form


def test_what_is_left_out_is_the_runtimes_default(reporter: tuple[Wire, str], version: str) -> None:
    wire, model = reporter
    defaults = {"model_path": model, **DEFAULTS_BY_LAYOUT[version[:3]]}
    assert reported(wire.ask("rkllm.init", {"model_path": model})["error"]) == defaults
    partial = {"model_path": model, "temperature": 1, "extend_param": {"n_batch": 2}}
    expected = {**defaults, "temperature": "1", "extend_param.n_batch": "2"}
    assert reported(wire.ask("rkllm.init", partial)["error"]) == expected, "an embedded struct keeps its other fields"


def test_what_createdefaultparam_answers_can_be_sent_back(reporter: tuple[Wire, str], version: str) -> None:
    wire, model = reporter
    param = wire.ask("rkllm.createDefaultParam")["result"]
    expected = {"model_path": model, **DEFAULTS_BY_LAYOUT[version[:3]]}
    assert reported(wire.ask("rkllm.init", {**param, "model_path": model})["error"]) == expected


def test_a_status_that_is_not_zero_is_an_error_with_the_runtimes_lines(reporter: tuple[Wire, str]) -> None:
    wire, model = reporter
    error = wire.ask("rkllm.init", [{"model_path": model}])["error"]
    assert (error["code"], error["data"]["kind"]) == (-32002, "RuntimeError")
    assert (error["data"]["function"], error["data"]["status"]) == ("rkllm_init", 7)
    assert error["data"]["log"][0] == f"model_path={model}"
    assert wire.ask("server.status")["result"]["models"] == []


def test_a_load_that_fails_says_what_the_runtime_said_and_leaves_nothing_behind(board: Board) -> None:
    board.script(init="fail")
    error = board.error("rkllm.init", {"model_path": str(board.model)})
    assert (error["code"], error["data"]["kind"]) == (-32002, "RuntimeError")
    assert error["message"] == "rkllm_init failed: E rkllm: rkllm_init failed"
    assert any("Cannot allocate memory" in line for line in error["data"]["log"])
    assert (error["data"]["function"], error["data"]["status"]) == ("rkllm_init", -1)
    assert board.error("rkllm.run", {"prompt": "Hi"})["data"]["kind"] == "ModelNotInitialized"
    board.script()
    board.load()
    assert board.say() == "[user] Hi", "a failed load does not count as a loaded model"


def test_the_strings_of_a_model_stay_as_long_as_it_does(start: Callable[..., Daemon]) -> None:
    """A runtime may read them again at any run: with this scenario the run fails if they are gone."""
    daemon = start(scenario="init_strings_stay=1")
    daemon.load()
    with daemon.connect() as wire:
        for _ in range(3):
            assert "error" not in wire.ask("rkllm.run", {"prompt": "Hello"})


def test_success_without_a_handle_is_a_failure(board: Board) -> None:
    board.script(init="null_handle")
    error = board.error("rkllm.init", {"model_path": str(board.model)})
    assert error["data"]["kind"] == "RuntimeError"
    assert error["data"]["function"] == "rkllm_init"
    assert error["message"] == "rkllm_init failed; the runtime said nothing about why."
    assert board.result("server.status")["models"] == []


def test_a_model_file_that_is_none_is_the_runtimes_error(board: Board) -> None:
    path = board.file("wrong.rkllm", b"PK\x03\x04 something else")
    error = board.error("rkllm.init", {"model_path": path})
    assert error["data"]["kind"] == "RuntimeError"
    assert "E rkllm: invalid rknn llm model magic" in error["data"]["log"]


def test_a_second_model_is_refused_before_it_is_tried(board: Board) -> None:
    handle = board.load()
    error = board.refused("rkllm.init", {"model_path": str(board.model), "top_k": 7})
    assert (error["code"], error["kind"]) == (-32007, "ModelAlreadyLoaded")
    assert error["loaded"] == [{"handle": handle, "model_path": str(board.model)}]
    assert "rkllm.destroy" in error["message"], "it says what to do"


def test_of_two_loads_sent_at_once_one_is_refused(board: Board) -> None:
    for call_id in (1, 2):
        board.wire.request("rkllm.init", {"model_path": str(board.model), "top_k": call_id}, call_id)
    answers = {answer["id"]: answer for answer in (board.wire.receive(), board.wire.receive())}
    assert answers[1]["result"]["success"] is True
    assert answers[2]["error"]["data"]["kind"] == "ModelAlreadyLoaded"
    assert board.calls().count("rkllm_init") == 1


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_as_many_models_as_the_setting_allows(version: str, new_board: Callable[..., Board]) -> None:
    board = new_board(version, "--max-models", "2")
    first, second = board.load(), board.load()
    error = board.refused("rkllm.init", {"model_path": str(board.model), "top_k": 7})
    assert error["kind"] == "ModelAlreadyLoaded"
    assert [model["handle"] for model in error["loaded"]] == [first, second]
    ambiguous = board.refused("rkllm.run", {"prompt": "Hi"})
    assert (ambiguous["code"], ambiguous["kind"]) == (-32005, "AmbiguousHandle")
    assert ambiguous["handles"] == [first, second]
    assert board.say("Hi", handle=second) == "[user] Hi"
    board.result("rkllm.destroy", {"handle": first})
    assert board.say("Hi") == "[user] Hi", "null means the only one that is left"
    third = board.load()
    assert third not in (first, second)


# --------------------------------------------------------------------------------------------------------------------
# What only one layout has


@pytest.mark.parametrize(
    ("version", "field", "value", "needs"),
    [
        ("1.2.3", "tokenizer_path", "MODEL", "1.3.0 or 1.3.1"),
        ("1.2.3", "embedding_path", "MODEL", "1.3.0 or 1.3.1"),
        ("1.2.3", "ignore_eos_token", True, "1.3.0 or 1.3.1"),
        ("1.3.0", "img_start", "<img>", "1.2.1, 1.2.2 or 1.2.3"),
        ("1.3.0", "img_end", "</img>", "1.2.1, 1.2.2 or 1.2.3"),
        ("1.3.0", "img_content", "<pad>", "1.2.1, 1.2.2 or 1.2.3"),
    ],
)
def test_a_field_of_the_other_layout_is_refused_by_name(
    board: Board, version: str, field: str, value: Any, needs: str
) -> None:
    model = str(board.model)
    error = board.refused("rkllm.init", {"model_path": model, field: model if value == "MODEL" else value})
    assert (error["code"], error["kind"], error["needs"]) == (-32008, "NotSupported", needs)
    assert error["runtime"] == f"rkllm {version}"
    assert field in error["message"]


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        ("1.2.3", {"ignore_eos_token": False}),
        ("1.3.0", {"img_start": None, "img_end": None, "img_content": None}),
        ("1.3.1", {"img_start": None, "img_end": None, "img_content": None}),
    ],
)
def test_a_field_of_the_other_layout_that_asks_for_nothing_is_taken(board: Board, fields: dict[str, Any]) -> None:
    board.load(**fields)
    assert board.say() == "[user] Hi"


@pytest.mark.parametrize("version", ["1.2.3"])
def test_image_tags_of_init_stay_with_the_model(board: Board) -> None:
    board.load(img_start="<i>", img_end="</i>", img_content="<p>")
    image = {"prompt": "What?", "image_embed": {"data": [1.0] * 8, "shape": [1, 1, 8]}}
    for _ in range(2):  # the strings have to outlive the call that gave them
        assert board.result("rkllm.run", {"multimodal_input": image})["text"].endswith("tags=<i>,</i>,<p>]")


# --------------------------------------------------------------------------------------------------------------------
# Refusals


@pytest.mark.parametrize(
    ("params", "path", "keyword"),
    [
        (None, "$.param", "required"),
        ([], "$.param", "required"),
        ([None], "$[0]", "type"),
        ({}, "$.param", "required"),
        ({"top_k": 1}, "$", "required"),
        ([{"top_k": 1}], "$[0]", "required"),
        ({"model_path": 5}, "$.model_path", "type"),
        ({"model_path": None}, "$.model_path", "type"),
        ({"model_path": "relative/model.rkllm"}, "$.model_path", "absolute"),
        ({"model_path": "qwen3"}, "$.model_path", "enum"),
        ([{"model_path": "n" * 100_000}], "$[0].model_path", "enum"),
        ({"model_path": ""}, "$.model_path", "absolute"),
        ({"model_path": "MODEL", "replace": 0}, "$.replace", "minimum"),
        ({"model_path": "MODEL", "replace": 1e30}, "$.replace", "maximum"),
        ({"model_path": "MODEL", "replace": "yes"}, "$.replace", "type"),
        ({"model_path": "/nowhere/model.rkllm"}, "$.model_path", "file"),
        ({"model_path": "/tmp"}, "$.model_path", "file"),
        ({"model_path": "/tmp/a\0b"}, "$.model_path", "pattern"),
        ({"model_path": "/" + 5000 * "a"}, "$.model_path", "maxLength"),
        ([{"model_path": "/nowhere"}], "$[0].model_path", "file"),
        ({"param": {"model_path": "/nowhere"}}, "$.param.model_path", "file"),
        ({"model_path": "MODEL", "top_k": "1"}, "$.top_k", "type"),
        ({"model_path": "MODEL", "top_k": 2**31}, "$.top_k", "maximum"),
        ({"model_path": "MODEL", "top_k": 1.5}, "$.top_k", "type"),
        ({"model_path": "MODEL", "top_p": 1.1}, "$.top_p", "maximum"),
        ({"model_path": "MODEL", "temperature": -0.1}, "$.temperature", "minimum"),
        ({"model_path": "MODEL", "temperature": 1e300}, "$.temperature", "maximum"),
        ({"model_path": "MODEL", "mirostat": 3}, "$.mirostat", "maximum"),
        ({"model_path": "MODEL", "is_async": "yes"}, "$.is_async", "type"),
        ({"model_path": "MODEL", "is_async": 2}, "$.is_async", "maximum"),
        ({"model_path": "MODEL", "extend_param": {"n_batch": 256}}, "$.extend_param.n_batch", "maximum"),
        ({"model_path": "MODEL", "extend_param": {"n_batch": -1}}, "$.extend_param.n_batch", "minimum"),
        ({"model_path": "MODEL", "extend_param": []}, "$.extend_param", "type"),
        ({"model_path": "MODEL", "extend_param": {"npu_cores": 3}}, "$.extend_param", "additionalProperties"),
        ({"model_path": "MODEL", "temprature": 1}, "$.temprature", "additionalProperties"),
        ([{"model_path": "MODEL", "temprature": 1}], "$[0]", "additionalProperties"),
        ({"model_path": "MODEL", "param": {"model_path": "MODEL"}}, "$.model_path", "uniqueItems"),
        ({"model_path": "MODEL", "handle": 1}, "$.handle", "const"),
        ([None, {"model_path": "MODEL"}, None, None], "$[3]", "maxItems"),
    ],
)
def test_wrong_parameters_are_refused_with_their_place(board: Board, params: Any, path: str, keyword: str) -> None:
    params = _with_model(params, str(board.model))
    error = board.refused("rkllm.init", params)
    assert (error["code"], error["kind"]) == (-32602, "InvalidParams")
    assert (error["path"], error["keyword"]) == (path, keyword), error["message"]


def _with_model(value: Any, model: str) -> Any:
    if isinstance(value, dict):
        return {name: _with_model(item, model) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_model(item, model) for item in value]
    return model if value == "MODEL" else value


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_a_misspelt_field_is_answered_with_the_nearest_name(board: Board) -> None:
    error = board.refused("rkllm.init", {"model_path": str(board.model), "temprature": 1})
    assert "temperature" in error["message"]


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_files_outside_the_allowed_directories_are_refused(
    version: str, new_board: Callable[..., Board], tmp_path: Path
) -> None:
    allowed = tmp_path / "models"
    allowed.mkdir()
    board = new_board(version, "--allowed-directories", str(allowed))
    inside = allowed / "model.rkllm"
    inside.touch()
    (allowed / "link.rkllm").symlink_to(board.model)
    for path in (board.model, allowed / "link.rkllm", allowed / ".." / "x.rkllm"):
        error = board.refused("rkllm.init", {"model_path": str(path)})
        assert (error["code"], error["kind"], error["path"]) == (-32009, "PermissionDenied", "$.model_path")
    wanted = {"model_path": str(inside), "tokenizer_path": str(board.model)}
    assert board.refused("rkllm.init", wanted)["path"] == "$.tokenizer_path"
    assert board.result("rkllm.init", {"model_path": str(inside)})["success"] is True
    adapter = {"lora_adapter_path": str(board.model)}
    assert board.refused("rkllm.load_lora", adapter)["kind"] == "PermissionDenied"
    cache = {"prompt_cache_path": str(board.model)}
    assert board.refused("rkllm.load_prompt_cache", cache)["kind"] == "PermissionDenied"


def test_batches_are_refused_where_the_size_of_an_input_is_not_proven(start: Callable[..., Daemon]) -> None:
    """A later runtime may have a larger RKLLMInput, as 1.3.1 had: one input is safe, an array of them is not."""
    daemon = start("--rkllm-layout", "1.3.1", library=simulator("1.3.2", "1.3.1"))
    with daemon.connect() as wire:
        refused = wire.ask("rkllm.init", {"model_path": str(daemon.model), "extend_param": {"n_batch": 2}})
        assert refused["error"]["data"]["kind"] == "NotSupported"
        assert "runtime 1.3.2" in refused["error"]["message"]
        assert "rkllm_init" not in str(daemon.trace())
        assert "handle" in wire.ask("rkllm.init", {"model_path": str(daemon.model)})["result"]
