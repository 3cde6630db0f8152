"""A model's own template, in Jinja: rendered as transformers does, in a sandbox with a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from rkllmd.chat.templates import forms, sources
from rkllmd.chat.templates.forms import Forms
from rkllmd.chat.templates.messages import check_roles, plain_data, values_in, with_placeholders, with_reasoning
from rkllmd.chat.templates.plain_words import PlainWords
from rkllmd.chat.templates.rendered import PLACEHOLDERS, Rendered
from rkllmd.chat.templates.sandbox.budget import LEAST_UNITS, OverBudget, limited
from rkllmd.chat.templates.sandbox.weight import NotAllowed
from rkllmd.chat.templates.sources import Source
from rkllmd.errors import InvalidParams, NotSupported, RuntimeFailure
from rkllmd.json_types import Json, JsonObject
from rkllmd.quick_dataclass import dataclass
from rkllmd.requirements import install_command

if TYPE_CHECKING:
    from jinja2 import Template

# The longest published one has 20 KB.
LONGEST_TEMPLATE: Final = 32_768
# What a conversation adds to the budget, for each value in it, and each character: some templates for pictures look at
# each character of a text, to see whether it is a part. The most take two seconds.
_UNITS_PER_VALUE: Final = 100
_UNITS_PER_CHARACTER: Final = 16
_MOST_UNITS: Final = 4_000_000
_LONGEST_REASON: Final = 300


class ModelTemplate:
    """Made from a Source that has a template. Raises NotSupported without jinja2."""

    def __init__(self, source: Source, now: Callable[[], datetime] = datetime.now) -> None:
        self._source = source
        self._now = now
        _import_jinja2()

    @classmethod
    def of_directory(cls, directory: str) -> ModelTemplate | None:
        """Return the template in a tokenizer's folder, or None. Raises OSError, InvalidParams, NotSupported."""
        return cls._of(sources.of_directory(directory))

    @classmethod
    def of_gguf(cls, path: str) -> ModelTemplate | None:
        """Return the template in a GGUF file; None if it has none. Raises OSError, NotSupported."""
        return cls._of(sources.of_gguf(path))

    @classmethod
    def _of(cls, source: Source) -> ModelTemplate | None:
        return None if source.template(with_tools=False) is None else cls(source)

    @property
    def source(self) -> str | None:
        """Return the template's text, that for conversations with tools where there are two."""
        return self._source.template(with_tools=True)

    def forms(self, *, with_tools: bool) -> Forms:
        """Return in which forms the template takes messages, and what it shows of them. Raises RuntimeFailure."""
        return self._prepared(self._source.template(with_tools=with_tools) or "").forms

    def render(
        self,
        messages: Sequence[JsonObject],
        *,
        tools: Sequence[JsonObject] | None = None,
        enable_thinking: bool | None = None,
        add_generation_prompt: bool = True,
        special: bool = False,
        placeholders: Mapping[str, str] | None = PLACEHOLDERS,
        more: Mapping[str, Json] | None = None,
    ) -> Rendered:
        """Return the text of a conversation.

        ``messages``: objects with ``role`` (system, user, assistant, tool) and ``content`` (a text, a list of parts
        ``{"type": "text", "text": …}``, ``{"type": "image" | "video" | "audio", …}``, or null), an assistant's also
        with ``tool_calls`` and ``reasoning_content``, a tool's with ``tool_call_id`` and ``name``. ``tools``: as of the
        OpenAI interface. ``enable_thinking`` None: as the template has it. ``special``: whether control tokens in the
        messages count as such, but for an assistant's. ``placeholders``: what stands for the parts that are no text, by
        their types; None: the template has its own. ``more``: further variables of the template, such as ``documents``.

        Raises InvalidParams where the template refuses the conversation, RuntimeFailure for a template that is broken
        or does too much.
        """
        check_roles(messages)
        prepared = self._prepared(self._source.template(with_tools=tools is not None) or "")
        kept = () if placeholders is None else PLACEHOLDERS.values()
        all_plain = PlainWords(self._source.control, prepared.written_tags, kept)
        words = PlainWords(frozenset(), frozenset(), kept) if special else all_plain
        called = [prepared.forms.with_arguments(message) for message in plain_data(messages)]
        # An answer is never more than text.
        said = [(all_plain if item["role"] == "assistant" else words).of_messages([item])[0] for item in called]
        plain = with_placeholders(said, placeholders)
        variables: JsonObject = {
            **dict(self._source.named_tokens),
            **({} if enable_thinking is None else {"enable_thinking": enable_thinking}),
            **words.of_value(dict(more or {})),
            "documents": words.of_value((more or {}).get("documents")),
            "tools": None if tools is None else words.of_value(plain_data(list(tools))),
            "messages": [with_reasoning(prepared.forms.message(message)) for message in plain],
            "add_generation_prompt": add_generation_prompt,
        }
        text, lead = _with_some_content(prepared, plain_data(variables))
        if "\0" in text:
            raise InvalidParams(
                "messages must not contain NUL, which ends a C string.", path="$.messages", keyword="pattern"
            )
        return Rendered(text, PlainWords(self._source.control, ()).spans(text), lead)

    def _prepared(self, template: str) -> _Prepared:
        return _prepare(self._source.place, template, self._source.named_tokens, self._source.tags, self._now)


@dataclass(frozen=True)
class _Prepared:
    """A compiled template, and what is known of it."""

    place: str
    template: Template
    forms: Forms
    written_tags: frozenset[str]

    def render(self, variables: JsonObject) -> tuple[str, int | None]:
        """Return what the template makes of its variables, and how much of it asks for the answer, if that is known.

        Raises InvalidParams, RuntimeFailure.
        """
        return _render(self.place, self.template, variables)


@lru_cache(maxsize=16)
def _prepare(
    place: str,
    source: str,
    named_tokens: tuple[tuple[str, str], ...],
    tags: frozenset[str],
    now: Callable[[], datetime],
) -> _Prepared:
    """Return a template that was compiled and asked in which forms it takes messages."""
    from rkllmd.chat.templates.sandbox.environment import ChatEnvironment

    if len(source) > LONGEST_TEMPLATE:
        raise _failure(place, f"it has {len(source)} characters, {LONGEST_TEMPLATE} are allowed")
    try:
        with limited(LEAST_UNITS):
            template = ChatEnvironment(now).compiled(source)
    except Exception as error:
        raise _failure(place, _reason(error)) from None

    def attempt(messages: list[JsonObject], tools: list[JsonObject] | None) -> str | None:
        variables = {**dict(named_tokens), "messages": messages, "tools": tools, "add_generation_prompt": False}
        try:
            return _render(place, template, {**variables, "documents": None})[0]
        except InvalidParams:
            return None
        except RuntimeFailure as error:
            if isinstance(error, _TooMuch):
                raise
            return None

    written = frozenset(tag for tag in tags if tag in source)
    return _Prepared(place, template, forms.ask(attempt), written)


def _render(place: str, template: Template, variables: JsonObject) -> tuple[str, int | None]:
    from rkllmd.chat.templates.sandbox import prompt_end
    from rkllmd.chat.templates.sandbox.calls import Refused

    values, characters = values_in(variables)
    units = LEAST_UNITS + _UNITS_PER_VALUE * values + _UNITS_PER_CHARACTER * characters
    try:
        with limited(min(units, _MOST_UNITS)):
            text, lead = prompt_end.taken_out(template.render(variables))
        text.encode()
    except Refused as error:
        raise InvalidParams(
            f"messages: the model's chat template refuses them: {_shortened(str(error))}",
            path="$.messages",
            keyword="chat_template",
        ) from None
    except (OverBudget, NotAllowed) as error:
        raise _failure(place, _reason(error), _TooMuch) from None
    except Exception as error:
        raise _failure(place, _reason(error)) from None
    return text, lead


def _with_some_content(prepared: _Prepared, variables: JsonObject) -> tuple[str, int | None]:
    """Return what a template makes of messages of which some may have no content, such as those that call functions.

    transformers leaves the content out then. Templates that were written before it did want a null, or an empty text.
    """
    messages = variables["messages"]
    for content in (None, ""):
        try:
            return prepared.render(variables)
        except _TooMuch:
            raise
        except RuntimeFailure:
            if all("content" in message for message in messages):
                raise
        variables = {**variables, "messages": [{"content": content, **message} for message in messages]}
    return prepared.render(variables)


class _TooMuch(RuntimeFailure):
    """What a template does is not allowed, or takes too long: asking it again takes as long."""


def _failure(place: str, reason: str, kind: type[RuntimeFailure] = RuntimeFailure) -> RuntimeFailure:
    return kind(
        f"The chat template in {place} can't be used: {reason}; declare another tokenizer for the model, or give a "
        "prompt instead of messages.",
        function="chat_template",
        status=None,
        log=[],
    )


def _reason(error: Exception) -> str:
    line = getattr(error, "lineno", None)
    text = _shortened(str(error)) or type(error).__name__
    return f"{text} (line {line})" if isinstance(line, int) else text


def _shortened(text: str) -> str:
    text = " ".join(text.split()) if len(text) <= 10 * _LONGEST_REASON else text
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def _import_jinja2() -> None:
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise NotSupported(
            f"The model's chat template needs jinja2: {install_command('jinja2')}",
            runtime="chat",
            needs="the Python package jinja2",
        ) from None
