"""A method described for a person: its parameters, their types and defaults, and an example that it takes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from rkllmd.calls import discovery, registry
from rkllmd.calls.binding.params import bind
from rkllmd.cli import method_help
from tests.cli.commands import run_raw
from tests.daemon import Daemon

METHODS = registry.discover()
DOCUMENT = json.loads(json.dumps(discovery.openrpc(METHODS)))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_described_with_an_example_that_it_takes(name: str) -> None:
    method = method_help.find(DOCUMENT, name)
    text = method_help.describe(method, {}, 80)
    for parameter in method["params"]:
        assert re.search(rf"^  {parameter['name']} ", text, re.MULTILINE), parameter["name"]
    words = shlex.split(text.splitlines()[-1])
    assert words[:3] == ["rkllmd", "call", name]
    bind(METHODS[name], json.loads(words[3]) if len(words) > 3 else {})


def test_help_on_a_method_has_types_defaults_and_an_example(daemon: Daemon) -> None:
    done = run_raw("help", "rkllm.init", "--socket", daemon.path, COLUMNS="100")
    text = done.stdout.decode()
    assert text.startswith("rkllm.init: load a language model")
    assert "int rkllm_init(LLMHandle *handle, RKLLMParam *param, RKLLMCallback *callback)" in text
    with daemon.connect() as wire:
        defaults = wire.ask("rkllm.createDefaultParam")["result"]
    assert re.search(rf"max_new_tokens +int32, default {defaults['max_new_tokens']}\.", text)
    assert re.search(r"top_p +number from 0 to 1, default ", text)
    assert re.search(r"model_path +string, required\.", text)
    n_batch = defaults["extend_param"]["n_batch"]
    assert re.search(rf"      n_batch +uint8, default {n_batch}\.", text), "of a struct in the struct"
    assert text.endswith("""Example:\n  rkllmd call rkllm.init '{"model_path": "/models/model.rkllm"}'\n""")


def test_help_without_a_daemon_comes_from_the_program(daemon: Daemon, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "none.sock")
    for name in ("rkllm.run", "rknn", "server.watch"):
        alone = run_raw("help", name, "--socket", nowhere)
        assert (alone.returncode, alone.stderr) == (0, b"")
        assert alone.stdout == run_raw("help", name, "--socket", daemon.path).stdout


def test_help_on_a_namespace_a_command_and_nothing() -> None:
    listed = run_raw("help", "server", "--socket", "/nowhere").stdout.decode()
    for name in METHODS:
        assert (f"{name} " in listed) is name.startswith("server."), name
    assert run_raw("help", "serve").stdout == run_raw("serve", "--help").stdout
    assert run_raw("help").stdout == run_raw("--help").stdout


def test_help_on_what_there_is_not() -> None:
    done = run_raw("help", "rkllm.rum", "--socket", "/nowhere")
    assert done.returncode == 1
    assert done.stderr == b"rkllmd: there is no method 'rkllm.rum'. Did you mean rkllm.run?\n"
