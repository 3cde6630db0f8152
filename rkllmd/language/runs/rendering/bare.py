"""Prompts without a chat template around them: ``bare``; and with ``suffix``, for what stands between the two texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rkllmd.abi.layouts.rkllm import RKLLMInputType
from rkllmd.chat.templates import gaps, sources
from rkllmd.errors import InvalidParams
from rkllmd.language import placeholders, prompt_length
from rkllmd.language.chats.text import Text
from rkllmd.language.runs.rendering import templates

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language
    from rkllmd.language.runs.run import Run


def check(run: Run) -> None:
    """Refuse what can't be bare, or has no gap to fill in. Raises InvalidParams, NotSupported."""
    if run.suffix is not None:
        if isinstance(run.input.json, list) or run.only_input.input_type != RKLLMInputType.RKLLM_INPUT_PROMPT:
            raise _refused("suffix", "goes with one prompt, which stands before it.")
        placeholders.check_text(run.suffix.encode(), run.model.library.layout, "$.suffix")
    if not run.is_bare:
        return
    name = "bare" if run.suffix is None else "suffix"
    is_conversation = run.messages is not None or run.invocation.call.members.session is not None
    if is_conversation or run.parameters.keep_history:
        raise _refused(name, "is for a prompt by itself: leave out messages, session and keep_history.")


def _refused(name: str, why: str) -> InvalidParams:
    return InvalidParams(f"{name} {why}", path=f"$.{name}", keyword="dependentRequired")


def text_of(run: Run, prompt: bytes) -> Text:
    """Return what the model is given for a prompt; on the worker thread. Raises InvalidParams."""
    before = (prompt.decode("utf-8", "replace"), bool(run.special))
    if run.suffix is None:
        return Text.of([before])
    found = markers_of(run.language, run.model)
    if found is None:
        raise InvalidParams(
            "suffix: this model is not known to fill in what stands before a text: leave it out.",
            path="$.suffix",
            keyword="markers",
        )
    behind = (run.suffix, bool(run.special))
    return Text.of([(found.before, True), before, (found.behind, True), behind, (found.middle, True)])


def markers_of(language: Language, model: Model) -> gaps.Markers | None:
    """Return the markers that the model's tokenizer has, None if it has none or is not known. Raises InvalidParams."""
    try:
        if model.tokenizer is not None:
            source = sources.of_directory(model.tokenizer)
        elif language.runtime.name == "portable" and model.file is not None:
            source = sources.of_gguf(model.file.path)
        else:
            return None
    except OSError:
        return None
    return gaps.markers(source.control | source.tags)


@contextmanager
def given(run: Run) -> Iterator[None]:
    """Within it, C puts no template around the run's prompt. Raises RuntimeFailure, InvalidParams, NotSupported."""
    templates.check_bare(run.language, run.model)
    templates.tell_c(run.language, run.model, is_bare=True)
    if run.suffix is None:
        yield
        return
    asked = run.only_input
    prompt = asked.prompt_input or b""
    told = text_of(run, prompt).encode()
    prompt_length.check_size(run.model, len(told), "$.suffix")
    asked.prompt_input = told
    try:
        yield
    finally:  # a run is tried again if the model turns out to be dead
        asked.prompt_input = prompt
