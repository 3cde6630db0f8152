"""server.model: what is known of one model, at any time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.daemon import ENDLESS, Start
from tests.wire_connection import Wire, kind


def of(wire: Wire, **params: Any) -> dict[str, Any]:
    found: dict[str, Any] = wire.ask("server.model", params, "model")["result"]
    return found


def test_what_the_vendors_runtime_does_not_say_is_null(start: Start) -> None:
    daemon = start(scenario=ENDLESS)
    daemon.load(max_new_tokens=-1, top_k=3, temperature=0.5)
    with daemon.connect() as wire, daemon.connect() as other:
        [listed] = wire.ask("server.status")["result"]["models"]
        wire.request("rkllm.run", {"prompt": "Hello"})
        daemon.wait_enter("rkllm_run", 1)
        found = of(other)
        assert {name: found[name] for name in ("handle", "name", "max_context_len")} == {
            name: listed[name] for name in ("handle", "name", "max_context_len")
        }
        assert [found[name] for name in ("template", "bos_token", "eos_token", "max_new_tokens")] == [None] * 4
        assert (found["sampling_params"]["top_k"], found["sampling_params"]["temperature"]) == (3, 0.5)
        assert kind(other.ask("server.model", {"handle": 99}, "none")) == "InvalidHandle"


def test_a_folder_of_its_tokenizer_tells_more(start: Start, tmp_path: Path) -> None:
    (tmp_path / "m.rkllm").touch()
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": null, "eos_token": {"content": "</s>"}}')
    config = tmp_path / "rkllmd.toml"
    config.write_text(f'[models.m]\nmodel_path = "{tmp_path}/m.rkllm"\ntokenizer = "{tmp_path}"\n')
    with start("--config", str(config)).connect() as wire:
        assert wire.ask("rkllm.init", {"model_path": "m"})["result"]["success"]
        found = of(wire)
    assert (found["template"], found["bos_token"], found["eos_token"]) == ("{{ messages }}", None, "</s>")


def test_the_portable_runtime_tells_it_of_a_file(start: Start) -> None:
    with start(runtime="portable").connect() as wire:
        assert wire.ask("rkllm.init", {"model_path": "demo"})["result"]["success"]
        found = of(wire)
    assert "<|im_start|>" in found["template"]
    assert (found["bos_token"], found["eos_token"]) == ("<|endoftext|>", "<|im_end|>")
    assert found["max_new_tokens"] > 0
