"""What a model's own chat template tells before anything is rendered by it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from rkllmd.chat.templates import overview
from rkllmd.portable.demo import MODEL
from tests.portable import gguf_files


@pytest.mark.parametrize(
    ("template", "can"), [("{% if enable_thinking %}{% endif %}", True), ("{{ messages }}", False), (None, None)]
)
def test_the_folder_of_the_tokenizer_tells(tmp_path: Path, template: str | None, can: bool | None) -> None:
    if template is not None:
        (tmp_path / "chat_template.jinja").write_text(template)
    assert overview.of_model(str(tmp_path), None).thinks is can


def test_the_file_tells_where_there_is_no_folder_with_a_template(tmp_path: Path) -> None:
    assert overview.of_model(None, str(MODEL)).thinks is True
    assert overview.of_model(str(tmp_path), str(MODEL)).thinks is True
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert overview.of_model(str(tmp_path), str(MODEL)).thinks is False
    assert overview.of_model(None, None).thinks is None


def test_what_is_damaged_or_not_there_tells_nothing(tmp_path: Path) -> None:
    assert overview.of_model(None, str(tmp_path / "none.gguf")).thinks is None
    (tmp_path / "tokenizer_config.json").write_text("[")
    assert overview.of_model(str(tmp_path), str(MODEL)).thinks is None


def test_its_text_is_told_with_the_tokens_that_the_folder_names(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>", "eos_token": {"content": "</s>"}}')
    assert overview.of_model(str(tmp_path), str(MODEL)) == overview.Overview("{{ messages }}", False, "<s>", "</s>")
    of_file = overview.of_model(None, str(MODEL))
    assert "<|im_start|>" in (of_file.text or "")
    assert (of_file.bos_token, of_file.eos_token) == (None, None), "its vocabulary is not read for that"


MARKERS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


@pytest.mark.parametrize(("kind", "is_known"), [(3, True), (4, True), (1, False)])
def test_a_file_with_the_markers_of_gaps_can_fill_them_in(tmp_path: Path, kind: int, is_known: bool) -> None:
    kinds = {"tokenizer.ggml.token_type": [1, kind, kind, 3]}
    words = {"tokenizer.ggml.tokens": ["a" * 5000, *MARKERS], "tokenizer.chat_template": "a"}
    path = gguf_files.write(tmp_path / "code.gguf", {**kinds, **words}, {})
    assert overview.of_model(None, str(path)).infill is is_known
    assert overview.of_model(None, str(MODEL)).infill is False
    assert overview.of_model(str(tmp_path), str(path)).infill is None, "the folder's tokenizer is meant"


def test_a_folder_tells_whether_it_has_the_markers_of_gaps(tmp_path: Path) -> None:
    listed = {str(index): {"content": text} for index, text in enumerate(MARKERS)}
    configuration = tmp_path / "tokenizer_config.json"
    configuration.write_bytes(orjson.dumps({"added_tokens_decoder": listed}))
    assert overview.of_model(str(tmp_path), None).infill is True
    configuration.write_bytes(orjson.dumps({"added_tokens_decoder": {"0": listed["0"]}}))
    assert overview.of_model(str(tmp_path), None).infill is False


def test_one_that_is_longer_than_any_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}" + " " * 32_768)
    found = overview.of_model(str(tmp_path), None)
    assert (found.text, found.thinks) == (None, False)
