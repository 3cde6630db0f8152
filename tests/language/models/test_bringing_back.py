"""Models of an earlier daemon: asleep under their handles, from what is remembered of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from rkllmd.abi.json.convert import to_c
from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.calls.handles import Handles
from rkllmd.language import remembered as remembered_models
from rkllmd.language.model import Model
from rkllmd.language.models import recipe
from rkllmd.language.models.bringing_back import bring_back
from rkllmd.language.models.loading import make
from rkllmd.language.remembered import RememberedModels
from rkllmd.machine.disk.seeing import Viewer


class Table:
    """What the store keeps, as it would be read."""

    def __init__(self) -> None:
        self.rows: dict[int, str] = {}

    def put(self, number: int, made_from: dict[str, Any]) -> None:
        """Keep it as JSON."""
        self.rows[number] = json.dumps(made_from)

    def read(self) -> list[tuple[int, dict[str, Any]]]:
        """Return it from JSON."""
        return [(number, json.loads(row)) for number, row in sorted(self.rows.items())]


def room(directory: Path, table: Table) -> Any:
    config = SimpleNamespace(
        allowed_directories=[str(directory)],
        writable_directories=(str(directory),),
        operator_directories=(),
        model_directory="",
        max_context_len=0,
        models=[],
        models_by_name={},
    )
    library = SimpleNamespace(layout=LAYOUTS["1.3"], runtime="RKLLM 1.3.0", version="1.3.0")
    kept: Any = table
    return SimpleNamespace(
        config=config,
        runtime=SimpleNamespace(name="simulator", library=library, defaults=None),
        board=SimpleNamespace(apply_defaults=lambda fields, param: None),
        models=Handles("language model"),
        remembered=RememberedModels(kept),
    )


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "model.rkllm").write_bytes(b"weights")
    return str(tmp_path / "model.rkllm")


def loaded(language: Any, path: str, number: int = 5) -> Model:
    model = make(language, recipe.make(language, {"model_path": path, "top_k": 3}, "$"))
    model.number = number
    model.param.extend_param.base_domain_id = 2
    model.strings["rkllm_set_chat_template"] = [b"S", "Ü".encode(), b""]
    return model


def test_it_comes_back_asleep_as_it_was(tmp_path: Path, path: str) -> None:
    language, table = room(tmp_path, Table()), Table()
    before = loaded(language, path)
    kept: Any = table
    RememberedModels(kept).put(before)
    language = room(tmp_path, table)
    (returning,) = bring_back(language)
    model = returning.model
    assert (returning.was_awake, returning.prompt_cache) == (True, None)
    assert language.models.get(5) is model
    assert (model.number, model.path, model.is_asleep, model.is_alive) == (5, path, True, True)
    assert (model.domain, model.param.top_k) == (2, 3)
    assert model.strings == before.strings
    assert model.sameness == recipe.make(language, {"model_path": path, "top_k": 3}, "$").sameness
    assert remembered_models._made_from(model) == {**table.read()[0][1], "is_asleep": True}, "and once more"
    assert language.models.add(before) > 5, "new handles come behind it"


def test_its_files_are_those_that_its_client_may_read(tmp_path: Path, path: str) -> None:
    language, table = room(tmp_path, Table()), Table()
    anna = Viewer(65534, frozenset({7, 9}), (str(tmp_path),))
    given = {"model_path": path}
    before = make(language, recipe.make(language, given, "$", anna))
    before.number = 5
    berta = Viewer(65533, frozenset(), (str(tmp_path),))
    adapter = {"lora_adapter_path": path, "lora_adapter_name": "polite"}
    struct = to_c(adapter, LAYOUTS["1.3"].structs["RKLLMLoraAdapter"], "$", [])
    before.adapters.append(recipe.make_adapter(struct, adapter, [], {path: berta}))
    kept: Any = table
    RememberedModels(kept).put(before)
    ((model, *_),) = bring_back(room(tmp_path, table))
    assert model.seen_by == before.seen_by == {path: anna}
    assert [adapter.seen_by for adapter in model.adapters] == [{path: berta}]


SENSELESS: list[dict[str, Any]] = [{}, {"given": {}}, {"given": {"model_path": 7}}, {"given": []}]


@pytest.mark.parametrize("damage", ["file", "directory", *SENSELESS])
def test_one_that_can_not_be_made_is_said_and_stays_remembered(
    tmp_path: Path, path: str, damage: str | dict[str, Any]
) -> None:
    table = Table()
    language = room(tmp_path, table)
    language.remembered.put(loaded(language, path))
    if damage == "file":
        Path(path).unlink()
    elif damage == "directory":
        language.config.allowed_directories = ["/nonexistent"]
    elif isinstance(damage, dict):
        table.put(5, damage)
    with capture_logs() as logs:
        assert bring_back(language) == []
    assert [(line["event"], line["handle"]) for line in logs] == [("model_not_brought_back", 5)]
    assert len(language.models) == 0
    assert list(table.rows) == [5]
