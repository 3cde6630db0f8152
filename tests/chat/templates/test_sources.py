"""Where a model's template comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from rkllmd.chat.templates import sources
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json
from rkllmd.portable import demo
from tests.portable import gguf_files


def write(folder: Path, files: Mapping[str, Json]) -> str:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else orjson.dumps(content))
    return str(folder)


ADDED = {
    "1": {"content": "<|im_end|>", "special": True},
    "2": {"content": "<think>", "special": False},
    "3": {"content": "", "special": True},
}


def test_the_configuration_of_a_tokenizer_has_all(tmp_path: Path) -> None:
    configuration = {
        "chat_template": "a",
        "bos_token": {"content": "<s>", "lstrip": False},
        "eos_token": "</s>",
        "pad_token": None,
        "added_tokens_decoder": ADDED,
    }
    source = sources.of_directory(write(tmp_path, {"tokenizer_config.json": configuration}))
    assert source.templates == (("default", "a"),)
    assert dict(source.named_tokens) == {"bos_token": "<s>", "eos_token": "</s>"}
    assert source.control == {"<s>", "</s>", "<|im_end|>"}
    assert source.tags == {"<think>"}
    assert source.place == str(tmp_path)


def test_a_file_of_its_own_goes_before_and_others_have_names(tmp_path: Path) -> None:
    files = {
        "tokenizer_config.json": {
            "chat_template": [{"name": "default", "template": "a"}, {"name": "rag", "template": "r"}]
        },
        "chat_template.jinja": "own",
        "additional_chat_templates/tool_use.jinja": "tools",
    }
    source = sources.of_directory(write(tmp_path, files))
    assert dict(source.templates) == {"default": "own", "rag": "r", "tool_use": "tools"}
    assert (source.template(with_tools=False), source.template(with_tools=True)) == ("own", "tools")


def test_other_files_tell_what_the_first_does_not(tmp_path: Path) -> None:
    files = {
        "chat_template.json": {"chat_template": {"default": "p"}},
        "special_tokens_map.json": {"bos_token": "<b>"},
        "tokenizer.json": {"added_tokens": list(ADDED.values())},
    }
    source = sources.of_directory(write(tmp_path, files))
    assert source.template(with_tools=True) == "p"
    assert dict(source.named_tokens) == {"bos_token": "<b>"}
    assert source.control == {"<b>", "<|im_end|>"}


def test_a_folder_without_a_template_has_none(tmp_path: Path) -> None:
    assert sources.of_directory(str(tmp_path)).template(with_tools=True) is None


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("tokenizer_config.json", "{", "is no JSON"),
        ("tokenizer_config.json", [], "is no JSON object"),
        ("tokenizer_config.json", {"chat_template": 5}, "neither a text nor named texts"),
        ("tokenizer_config.json", {"chat_template": [{"name": "a"}]}, "neither a text nor named texts"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path: Path, name: str, content: Json, reason: str) -> None:
    with pytest.raises(InvalidParams, match=reason) as error:
        sources.of_directory(write(tmp_path, {name: content}))
    assert str(tmp_path / name) in error.value.message


def test_a_template_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(InvalidParams, match="UTF-8"):
        sources.of_directory(str(tmp_path))


def test_files_are_read_again_when_they_have_changed(tmp_path: Path) -> None:
    folder = write(tmp_path, {"chat_template.jinja": "a"})
    first = sources.of_directory(folder)
    assert sources.of_directory(folder) is first
    write(tmp_path, {"chat_template.jinja": "other"})
    assert sources.of_directory(folder).template(with_tools=False) == "other"


def test_a_gguf_file_has_all(tmp_path: Path) -> None:
    source = sources.of_gguf(str(demo.MODEL))
    assert "<|im_start|>" in (source.template(with_tools=False) or "")
    assert source.control == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    assert "<think>" in source.tags
    assert dict(source.named_tokens) == {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    assert sources.of_gguf(str(demo.MODEL)) is source
    assert sources.of_gguf(str(gguf_files.without_template(tmp_path / "a.gguf"))).template(with_tools=False) is None


def test_another_file_has_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.rkllm").write_bytes(b"RKLLM")
    assert sources.of_gguf(str(tmp_path / "model.rkllm")).templates == ()


def test_the_template_alone_is_read_without_the_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("no JSON")
    (tmp_path / "chat_template.jinja").write_text("all")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    assert sources.outline_of_directory(str(tmp_path)).template == "tools"
    with pytest.raises(InvalidParams):
        sources.of_directory(str(tmp_path))
