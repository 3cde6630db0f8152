"""Which markers a loaded model reads between the turns of a conversation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rkllmd.language.chats.markers import PLAIN, Markers
from rkllmd.language.runs.rendering.markers import of_model
from rkllmd.machine.files import identify
from rkllmd.portable import demo


def model(*, file: Any = None, strings: Any = None) -> Any:
    return SimpleNamespace(file=file, strings={} if strings is None else {"rkllm_set_chat_template": strings})


def test_a_template_that_was_set_comes_first() -> None:
    given = [b"", b"<Q>", b"<A>"]
    for runtime in ("vendor", "portable"):
        assert of_model(model(strings=given, file=identify(str(demo.MODEL))), runtime) == Markers("<A>", "<Q>")


def test_the_models_file_is_read_where_its_format_is_known() -> None:
    loaded = model(file=identify(str(demo.MODEL)))
    assert of_model(loaded, "portable").after_question.endswith("<|im_start|>assistant\n")
    assert of_model(loaded, "vendor") == PLAIN


def test_plain_words_where_nothing_is_known(tmp_path: Any) -> None:
    gone = tmp_path / "model.gguf"
    gone.write_bytes(b"GGUF")
    loaded = model(file=identify(str(gone)))
    gone.unlink()
    assert of_model(loaded, "portable") == PLAIN
    assert of_model(model(), "portable") == PLAIN
