"""Whether a model can think, by its own chat template."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkllmd.chat.templates import thinking
from rkllmd.portable.demo import MODEL


@pytest.mark.parametrize(
    ("template", "can"), [("{% if enable_thinking %}{% endif %}", True), ("{{ messages }}", False), (None, None)]
)
def test_the_folder_of_the_tokenizer_tells(tmp_path: Path, template: str | None, can: bool | None) -> None:
    if template is not None:
        (tmp_path / "chat_template.jinja").write_text(template)
    assert thinking.of_model(str(tmp_path), None) is can


def test_the_file_tells_where_there_is_no_folder_with_a_template(tmp_path: Path) -> None:
    assert thinking.of_model(None, str(MODEL)) is True
    assert thinking.of_model(str(tmp_path), str(MODEL)) is True
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert thinking.of_model(str(tmp_path), str(MODEL)) is False
    assert thinking.of_model(None, None) is None


def test_what_is_damaged_or_not_there_tells_nothing(tmp_path: Path) -> None:
    assert thinking.of_model(None, str(tmp_path / "none.gguf")) is None
    (tmp_path / "tokenizer_config.json").write_text("[")
    assert thinking.of_model(str(tmp_path), str(MODEL)) is None
