"""What a model's own chat template tells before anything is rendered by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkllmd.chat.templates import overview
from rkllmd.portable.demo import MODEL


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


def test_one_that_is_longer_than_any_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}" + " " * 32_768)
    found = overview.of_model(str(tmp_path), None)
    assert (found.text, found.thinks) == (None, False)
