"""What is remembered of the loaded models, as the daemon loads, changes and unloads them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from rkllmd.language.remembered import RememberedModels
from rkllmd.store.models import KeptModels
from tests.daemon import Daemon, Start
from tests.language.models.loads import dress
from tests.store.stores import opened


def remembered(state: Path) -> list[tuple[int, dict[str, Any]]]:
    with opened(state) as store:
        return KeptModels(store).read()


def started(start: Start, state: Path, *arguments: str) -> Daemon:
    state.mkdir(mode=0o700)
    return start("--state-directory", str(state), "--max-models", "2", *arguments)


def test_a_model_is_remembered_as_it_was_made_and_changed(start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    daemon = started(start, state)
    handle = daemon.load(top_k=3)
    with daemon.connect() as wire:
        dress(daemon, wire, handle)
    daemon.stop()
    ((number, made_from),) = remembered(state)
    assert number == handle
    assert made_from["given"] == {"model_path": str(daemon.model), "top_k": 3}
    assert made_from["domain"] == 0
    assert [adapter["lora_adapter_name"] for adapter in made_from["adapters"]] == ["coding"]
    assert made_from["strings"] == {
        "rkllm_set_function_tools": ["Old.", "[]", ""],
        "rkllm_set_chat_template": ["Be brief.", "<u>", "</u>"],
    }


# So much that it takes a while to write it.
LONG = "S" * 2**22
CROSS = {"encoder_k_cache": [1.0] * 8, "encoder_v_cache": [2.0] * 8, "encoder_mask": [1], "encoder_pos": [9]}


TEMPLATE = ("rkllm.set_chat_template", {"system_prompt": LONG})
TOOLS = ("rkllm.set_function_tools", {"system_prompt": LONG, "tools": []})


@pytest.mark.parametrize(
    ("calls", "is_crossed"),
    [([TEMPLATE], False), ([TOOLS], False), ([TEMPLATE, ("rkllm.set_cross_attn_params", CROSS)], True)],
)
def test_no_crash_undoes_what_clients_were_told(start: Start, tmp_path: Path, calls: Any, is_crossed: bool) -> None:
    state = tmp_path / "state"
    daemon = started(start, state)
    daemon.load(extend_param={"use_cross_attn": 1})
    with daemon.connect() as wire:
        for method, params in calls:
            assert "result" in wire.ask(method, params)
        daemon.stop(signal.SIGKILL)
    ((_, made_from),) = remembered(state)
    assert made_from["cross_attention"] is is_crossed
    assert [value[0] == LONG for value in made_from["strings"].values()] == [True]


def test_what_is_unloaded_or_replaced_is_remembered_no_longer(start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    daemon = started(start, state)
    first, second = daemon.load(), daemon.load(top_k=2)
    with daemon.connect() as wire:
        wire.ask("rkllm.destroy", [first])
        third = wire.ask("rkllm.init", {"model_path": str(daemon.model), "replace": second})["result"]["handle"]
    daemon.stop()
    assert [number for number, _ in remembered(state)] == [third]


def test_without_a_store_nothing_is_remembered() -> None:
    models = RememberedModels()
    nothing: Any = None
    models.put(nothing)
    models.keep(nothing)
    models.drop([nothing])
    models.clear()
    assert models.read() == []
