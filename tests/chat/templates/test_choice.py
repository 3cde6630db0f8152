"""A model's own template first, then markers that were set, then words."""

from __future__ import annotations

from pathlib import Path

from rkllmd.chat.templates.choice import choose
from rkllmd.portable import demo
from tests.portable import gguf_files

MESSAGES = [{"role": "user", "content": "a"}]
SET = (b"", b"Q", b"A")


def test_the_folder_of_the_configuration_goes_before_the_models_file(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("own")
    assert choose(str(tmp_path), str(demo.MODEL), SET).render(MESSAGES).text == "own"


def test_a_folder_without_a_template_leaves_it_to_the_models_file(tmp_path: Path) -> None:
    rendered = choose(str(tmp_path), str(demo.MODEL), SET).render(MESSAGES, enable_thinking=True)
    assert rendered.text == "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
    assert rendered.origin == "model"


def test_markers_are_for_models_without_a_template_of_their_own(tmp_path: Path) -> None:
    bare = str(gguf_files.without_template(tmp_path / "a.gguf"))
    assert choose(None, bare, SET).render(MESSAGES).text == "QaA"
    assert choose(None, None, SET).origin == "markers"


def test_words_are_for_all_others() -> None:
    assert choose(None, None, None).origin == "words"
    assert choose(None, None, (b"", b"", b"")).origin == "words"
