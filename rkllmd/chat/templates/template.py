"""What every chat template does: messages in, the text for the model out, and where in it control markers stand.

A template is used on the worker thread, or in a thread of its own: a hostile one takes up to 100 ms until it is
stopped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, TypeAlias

from rkllmd.json_types import Json, JsonObject

Origin: TypeAlias = Literal["model", "markers", "words"]

# Byte offsets [begin, end) into a text, as in rkllmd/portable/extension.py.
Span: TypeAlias = tuple[int, int]

# What stands for a part of a message that is no text, as the runtimes want it.
PLACEHOLDERS: Final[Mapping[str, str]] = {"image": "<image>", "video": "<video>", "audio": "<audio>"}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as a model reads it.

    ``origin``: "model" by its own template, "markers" by those that were set, "words" without anything.
    ``control_spans``: the bytes of ``text`` that are control markers; all of them are the template's own, since those
    in the messages have become plain words. A runtime that takes every marker in a prompt for control needs no spans.
    """

    text: str
    origin: Origin
    control_spans: tuple[Span, ...] = ()


class ChatTemplate(ABC):
    """Renders conversations for one model."""

    origin: ClassVar[Origin]

    @abstractmethod
    def render(
        self,
        messages: Sequence[JsonObject],
        *,
        tools: Sequence[JsonObject] | None = None,
        enable_thinking: bool | None = None,
        add_generation_prompt: bool = True,
        placeholders: Mapping[str, str] | None = PLACEHOLDERS,
        more: Mapping[str, Json] | None = None,
    ) -> Rendered:
        """Return the text of a conversation.

        ``messages``: objects with ``role`` (system, user, assistant, tool) and ``content`` (a text, a list of parts
        ``{"type": "text", "text": …}``, ``{"type": "image" | "video" | "audio", …}``, or null), an assistant's also
        with ``tool_calls`` and ``reasoning_content``, a tool's with ``tool_call_id`` and ``name``. ``tools``: as of the
        OpenAI interface. ``enable_thinking`` None: as the template has it. ``placeholders``: what stands for the parts
        that are no text, by their types; None: the template has its own. ``more``: further variables of the template,
        such as ``documents``.

        Raises InvalidParams where the template refuses the conversation, RuntimeFailure for a template that is broken
        or takes too long.
        """

    @property
    def source(self) -> str | None:
        """Return the template's Jinja text; None if it has none. Which dialect a model speaks is recognised by it."""
        return None
