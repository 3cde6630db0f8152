"""What the daemon says of its methods: a valid OpenRPC document, whose schemas are what the daemon checks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator, Draft202012Validator

import rkllmd
from rkllmd.calls import registry
from rkllmd.calls.declaration import Kind
from rkllmd.calls.discovery import describe_functions, openrpc
from tests.daemon import Daemon

METHODS = registry.discover()
C_METHODS = {item.c_function: item for item in METHODS.values() if item.c_function}
# The keys that OpenRPC 1.3.2 has; an extension begins with "x-".
DOCUMENT_KEYS = {"openrpc", "info", "servers", "methods", "components", "externalDocs"}
METHOD_KEYS = {
    "name",
    "tags",
    "summary",
    "description",
    "externalDocs",
    "params",
    "result",
    "deprecated",
    "servers",
    "errors",
    "links",
    "paramStructure",
    "examples",
}
DESCRIPTOR_KEYS = {"name", "summary", "description", "required", "schema", "deprecated"}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with Daemon(tmp_path_factory.mktemp("daemon")) as daemon, daemon.connect() as wire:
        yield wire.ask("rpc.discover")["result"]


def _unknown(found: dict[str, Any], known: set[str]) -> set[str]:
    return {key for key in found if key not in known and not key.startswith("x-")}


def test_the_document_has_the_shape_of_openrpc(document: dict[str, Any]) -> None:
    assert _unknown(document, DOCUMENT_KEYS) == set()
    assert document["openrpc"] == "1.3.2"
    assert document["info"]["title"] == "rkllmd"
    assert document["info"]["version"] == rkllmd.__version__
    names = [method["name"] for method in document["methods"]]
    assert len(names) == len(set(names)), "names are unique"
    for method in document["methods"]:
        assert _unknown(method, METHOD_KEYS) == set(), method["name"]
        assert method["summary"].strip(), f"{method['name']} says what it does"
        assert method.get("paramStructure", "either") in ("by-name", "by-position", "either")
        for descriptor in [*method["params"], method["result"]]:
            assert _unknown(descriptor, DESCRIPTOR_KEYS) == set(), method["name"]
            assert descriptor["name"]
            assert isinstance(descriptor["schema"], dict)
        parameters = [descriptor["name"] for descriptor in method["params"]]
        assert len(parameters) == len(set(parameters)), f"{method['name']} has each parameter once"


def test_every_method_that_is_served_is_in_it(document: dict[str, Any]) -> None:
    assert {method["name"] for method in document["methods"]} == set(registry.discover())


def test_each_schema_is_valid_by_the_metaschemas(document: dict[str, Any]) -> None:
    schemas = [
        (method["name"], descriptor["schema"])
        for method in document["methods"]
        for descriptor in [*method["params"], method["result"]]
    ]
    assert len(schemas) > len(document["methods"])
    for name, schema in schemas:
        for validator in (Draft7Validator, Draft202012Validator):  # OpenRPC says 7, most people use newer ones
            errors = [error.message for error in validator(validator.META_SCHEMA).iter_errors(schema)]
            assert errors == [], name


RUN = {"prompt_input": "Hello", "role": "user", "enable_thinking": False, "input_type": "RKLLM_INPUT_PROMPT"}


@pytest.mark.parametrize(
    ("method", "parameter", "value", "valid"),
    [
        ("rkllm.init", "param", {"model_path": "/m.rkllm", "top_k": 1, "extend_param": {"n_batch": 2}}, True),
        ("rkllm.init", "param", {"top_k": 1}, False),
        ("rkllm.init", "param", {"model_path": "/m.rkllm", "top_k": "1"}, False),
        ("rkllm.init", "param", {"model_path": "/m.rkllm", "unknown": 1}, False),
        ("rkllm.run", "rkllm_input", RUN, True),
        ("rkllm.run", "rkllm_input", [RUN, RUN], True),
        ("rkllm.run", "rkllm_input", {**RUN, "input_type": 4}, False),
        ("rkllm.run", "rkllm_infer_params", {"mode": 2, "keep_history": 1}, True),
        ("rkllm.run", "rkllm_infer_params", {"mode": 3}, False),
        ("rkllm.run", "handle", None, True),
        ("rkllm.run", "handle", 0, True),
        ("rkllm.run", "handle", -1, False),
        ("rkllm.clear_kv_cache", "start_pos", [0, 5], True),
        ("rkllm.clear_kv_cache", "start_pos", [-1], False),
        ("rkllm.set_function_tools", "tools", [{"name": "f"}], True),
        ("rkllm.set_function_tools", "tools", 5, False),
        ("server.cancel", "id", "a", True),
        ("server.cancel", "id", None, False),
    ],
)
def test_the_schemas_mean_what_the_daemon_checks(
    document: dict[str, Any], method: str, parameter: str, value: Any, valid: bool
) -> None:
    (described,) = (item for item in document["methods"] if item["name"] == method)
    (schema,) = (item["schema"] for item in described["params"] if item["name"] == parameter)
    assert Draft202012Validator(schema).is_valid(value) is valid


def test_it_answers_without_a_model_and_without_a_runtime(start: Callable[..., Daemon]) -> None:
    daemon = start("--rkllm-library", "/nowhere/librkllmrt.so", runtime="portable")
    with daemon.connect() as wire:
        assert wire.ask("rpc.discover")["result"]["openrpc"] == "1.3.2"


def test_the_openrpc_document() -> None:
    document = openrpc(METHODS)
    assert document["openrpc"].split(".")[0] == "1"
    assert document["info"]["title"] == "rkllmd"
    assert document["info"]["version"] == rkllmd.__version__
    assert [item["name"] for item in document["methods"]] == list(METHODS)
    for item in document["methods"]:
        assert item["paramStructure"] in ("by-name", "by-position", "either")
        assert item["result"].keys() >= {"name", "schema"}
        names = [parameter["name"] for parameter in item["params"]]
        assert len(set(names)) == len(names)
        for parameter in item["params"]:
            assert parameter.keys() == {"name", "required", "schema"}
            assert isinstance(parameter["required"], bool)
        assert item["x-kind"] in set(Kind)


def test_the_openrpc_document_can_be_sent() -> None:
    assert json.loads(orjson.dumps(openrpc(METHODS))) == openrpc(METHODS)


def test_the_openrpc_document_has_what_only_c_has() -> None:
    found = {item["name"]: item for item in openrpc(METHODS)["methods"]}
    assert found["rkllm.init"]["x-c-only"] == ["handle", "callback"]
    assert found["rkllm.init"]["x-c-signature"].startswith("int rkllm_init(LLMHandle *handle")
    assert "x-c-signature" not in found["server.status"]


def test_get_functions() -> None:
    functions = describe_functions(METHODS, "rkllm")
    assert functions.keys() == {name for name in C_METHODS if name.startswith("rkllm_")}
    assert functions["rkllm_load_lora"] == {
        "method": "rkllm.load_lora",
        "kind": "npu",
        "summary": "load a LoRA adapter beside the model; a run chooses it by lora_params.",
        "signature": "int rkllm_load_lora(LLMHandle handle, RKLLMLoraAdapter *lora_adapter)",
        "params": ["handle", "lora_adapter"],
    }
    rknn = describe_functions(METHODS, "rknn")
    assert rknn.keys() == {name for name in C_METHODS if name.startswith("rknn_")}
    assert functions.keys() | rknn.keys() == C_METHODS.keys()
    assert rknn["rknn_set_io_mem"]["params"] == ["ctx", "mem", "attr", "output"]
    assert describe_functions(METHODS, "server") == {}
