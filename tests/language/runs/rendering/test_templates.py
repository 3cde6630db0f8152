"""Which template renders a model's conversations, and which one C puts around prompts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.errors import InvalidParams
from rkllmd.language.runs.rendering import templates
from rkllmd.portable import demo
from rkllmd.portable.demo.text.layout import CHAT_TEMPLATE


class Calls:
    """A runtime that notes what it is called with."""

    extension = None

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def call(self, function: str, pointer: object, *values: bytes, on: object) -> None:
        """Note a call."""
        self.seen.append(values)


def model(**fields: Any) -> Any:
    return SimpleNamespace(
        **{"pointer": 1, "strings": {}, "is_bare": False, "tokenizer": None, "file": None, "path": ""} | fields
    )


VENDOR: Any = SimpleNamespace(runtime=SimpleNamespace(name="simulator"))
PORTABLE: Any = SimpleNamespace(runtime=SimpleNamespace(name="portable"))
SET = [b"s", b"<U>", b"<A>"]
NONE = (b"", b"", b"")


def told(loaded: Any, *wanted: bool) -> list[tuple[Any, ...]]:
    """Return what C is called with for runs that want no template (True) or that of the model (False)."""
    runtime = Calls()
    language: Any = SimpleNamespace(runtime=runtime)
    for is_bare in wanted:
        templates.tell_c(language, loaded, is_bare=is_bare)
    return runtime.seen


def test_c_is_called_only_where_something_changes() -> None:
    assert told(model(), False, False, True, True) == [NONE]
    loaded = model(strings={"rkllm_set_chat_template": SET})
    assert told(loaded, False, True, True, False, False, True) == [NONE, tuple(SET), NONE]


def test_the_template_that_c_has_by_itself_does_not_come_back() -> None:
    loaded = model()
    assert told(loaded, True, False) == [NONE]
    assert loaded.is_bare


def test_an_empty_template_that_a_client_has_set_is_what_is_wanted() -> None:
    assert told(model(strings={"rkllm_set_chat_template": [*NONE]}), True, False, True) == []


def test_the_portable_runtime_is_told_before_each_run() -> None:
    runtime: Any = SimpleNamespace(extension=object())
    templates.tell_c(SimpleNamespace(runtime=runtime), model(), is_bare=True)  # type: ignore[arg-type]  # a stand-in


def test_a_folder_has_the_models_own_template_or_none(tmp_path: Path) -> None:
    assert templates.own_of(VENDOR, model()) is None
    assert templates.own_of(VENDOR, model(tokenizer=str(tmp_path))) is None
    (tmp_path / "chat_template.jinja").write_text("own")
    own = templates.own_of(VENDOR, model(tokenizer=str(tmp_path)))
    assert own is not None
    assert own.source == "own"


def test_a_folder_that_can_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(directory: str) -> None:
        raise PermissionError(13, "Permission denied", directory)

    monkeypatch.setattr("rkllmd.chat.templates.sources.of_directory", fails)
    with pytest.raises(InvalidParams, match="Permission denied"):
        templates.own_of(VENDOR, model(tokenizer=str(tmp_path)))


def test_on_the_portable_runtime_the_models_file_has_one(tmp_path: Path) -> None:
    file = SimpleNamespace(path=str(demo.MODEL))
    own = templates.own_of(PORTABLE, model(file=file))
    assert own is not None
    assert own.source == CHAT_TEMPLATE
    assert templates.own_of(VENDOR, model(file=file)) is None
    assert templates.own_of(PORTABLE, model(file=SimpleNamespace(path=str(tmp_path / "gone")))) is None
    (tmp_path / "chat_template.jinja").write_text("own")
    declared = templates.own_of(PORTABLE, model(file=file, tokenizer=str(tmp_path)))
    assert declared is not None
    assert declared.source == "own"
