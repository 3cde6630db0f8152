"""From what rkllm.init is given to what loads a model: names, defaults, paths, numbers of cores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.config.declared import DeclaredModel
from rkllmd.errors import InvalidParams, NotSupported, PermissionDenied
from rkllmd.language.models import recipe

WHERE = "$.param"


def room(tmp_path: Path, *declared: DeclaredModel, version: str = "1.3.0", **settings: Any) -> Any:
    config = SimpleNamespace(
        **{
            "allowed_directories": [str(tmp_path)],
            "model_directory": "",
            "max_context_len": 0,
            "models": list(declared),
            **settings,
        }
    )
    library = SimpleNamespace(layout=LAYOUTS["1.3"], runtime=f"RKLLM {version}", version=version)
    runtime = SimpleNamespace(name="simulator", library=library, defaults=None)
    return SimpleNamespace(
        config=config, runtime=runtime, board=SimpleNamespace(apply_defaults=lambda fields, param: None)
    )


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.rkllm"
    path.write_bytes(b"weights")
    return str(path)


def test_a_path_is_resolved_and_its_file_measured(tmp_path: Path, model: str) -> None:
    (tmp_path / "link").symlink_to(model)
    made = recipe.make(room(tmp_path), {"model_path": str(tmp_path / "link"), "top_k": 3}, WHERE)
    assert (made.path, made.size_bytes, made.name) == (model, 7, None)
    assert (made.param.model_path, made.param.top_k) == (model.encode(), 3)


def test_a_name_stands_for_what_is_declared_and_what_is_given_beside_it_comes_first(tmp_path: Path, model: str) -> None:
    declared = DeclaredModel("chat", {"model_path": model, "top_k": 3, "top_p": 0.5}, idle_minutes=5)
    made = recipe.make(room(tmp_path, declared), {"model_path": "chat", "top_k": 7}, WHERE)
    assert (made.name, made.path, made.idle_minutes) == ("chat", model, 5)
    assert (made.param.top_k, made.param.top_p) == (7, 0.5)


def test_a_name_that_nobody_has_declared(tmp_path: Path, model: str) -> None:
    declared = DeclaredModel("chat", {"model_path": model})
    with pytest.raises(InvalidParams) as refused:
        recipe.make(room(tmp_path, declared), {"model_path": "caht"}, WHERE)
    assert refused.value.data["limit"] == ["chat"]
    assert "'caht'" in refused.value.message
    with pytest.raises(InvalidParams) as refused:
        recipe.make(room(tmp_path), {"model_path": "x" * 1000}, WHERE)
    assert "x" * 65 not in refused.value.message, "not all of what is too long is repeated"


def test_relative_paths_begin_in_the_directory_of_models(tmp_path: Path, model: str) -> None:
    made = recipe.make(room(tmp_path, model_directory=str(tmp_path)), {"model_path": "model.rkllm"}, WHERE)
    assert made.path == model
    with pytest.raises(PermissionDenied):
        recipe.make(room(tmp_path, model_directory="/"), {"model_path": "etc/passwd"}, WHERE)


def test_the_context_of_the_configuration_is_for_those_who_name_none(tmp_path: Path, model: str) -> None:
    language = room(tmp_path, max_context_len=512)
    assert recipe.make(language, {"model_path": model}, WHERE).param.max_context_len == 512
    given = {"model_path": model, "max_context_len": 64}
    assert recipe.make(language, given, WHERE).param.max_context_len == 64


def test_the_same_load_is_the_same_whichever_domain_it_gets(tmp_path: Path, model: str) -> None:
    language = room(tmp_path)
    loads: list[dict[str, Any]] = [{"extend_param": {"base_domain_id": 3}}, {}, {"top_k": 2}]
    first, second, other = (recipe.make(language, {"model_path": model, **given}, WHERE) for given in loads)
    assert (first.domain, second.domain) == (3, None)
    assert first.sameness == second.sameness
    assert first.sameness != other.sameness


def test_a_batch_needs_a_layout_that_is_known_to_be_the_versions(tmp_path: Path, model: str) -> None:
    given = {"model_path": model, "extend_param": {"n_batch": 2}}
    assert recipe.make(room(tmp_path), given, WHERE).param.extend_param.n_batch == 2
    with pytest.raises(NotSupported):
        recipe.make(room(tmp_path, version="1.3.1"), given, WHERE)


def test_an_adapter_is_called_as_its_file_and_has_an_effect() -> None:
    struct = LAYOUTS["1.3"]["RKLLMLoraAdapter"]
    made = recipe.make_adapter(struct(), {"lora_adapter_path": "/loras/polite.rkllm"}, [], {})
    assert (made.name, made.struct.scale) == ("polite", 1.0)
    given = {"lora_adapter_path": "/loras/polite.rkllm", "scale": 0.0}
    assert recipe.make_adapter(struct(lora_adapter_name=b"p"), given, [], {}).name == "p"
    assert recipe.make_adapter(struct(scale=0.0), given, [], {}).struct.scale == 0.0


def test_a_declared_tokenizer_is_a_folder_in_an_allowed_directory(tmp_path: Path, model: str) -> None:
    (tmp_path / "tokenizer").mkdir()

    def made(tokenizer: str) -> recipe.Recipe:
        declared = DeclaredModel("chat", {"model_path": model}, tokenizer=tokenizer)
        return recipe.make(room(tmp_path, declared), {"model_path": "chat"}, WHERE)

    assert made(f"{tmp_path}/tokenizer/").tokenizer == str(tmp_path / "tokenizer")
    assert made(f"{tmp_path}/tokenizer").sameness != made(str(tmp_path)).sameness
    for path, error in ((model, InvalidParams), (f"{tmp_path}/absent", InvalidParams), ("/usr", PermissionDenied)):
        with pytest.raises(error) as refused:
            made(path)
        assert refused.value.data["path"] == "models.chat.tokenizer"
