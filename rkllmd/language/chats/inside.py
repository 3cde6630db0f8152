"""A conversation as one turn of the runtime's own chat template: for models whose template the daemon can't render.

The runtime puts its template around what it is given as one user's message. So earlier turns, with what stands between
turns, go into that message. Markers that are known make of it exactly what the model would have read turn by turn. In
plain words (``User: …``, ``Assistant: …``) it is one long question, which models understand.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from rkllmd.language.chats.markers import PLAIN, Markers
from rkllmd.language.chats.messages import Message
from rkllmd.language.chats.text import Text
from rkllmd.quick_dataclass import dataclass

_BETWEEN: Final = "\n\n"
_TOOL_TAG: Final = "tool_response"
# The form of Hermes, Qwen and their kin. The portable runtime's is the same (rkllmd/portable/demo/text/layout.py).
_TOOLS: Final = (
    "# Tools\n\nYou may call these functions:\n<tools>\n{}\n</tools>\n\nTo call one, answer with "
    '<tool_call>{{"name": <function name>, "arguments": <JSON object>}}</tool_call>'
)


@dataclass(frozen=True, slots=True)
class InsideTemplate:
    """Renders a conversation for the inside of one turn; ``tools``: the functions as JSON, or ""."""

    markers: Markers
    tools: str = ""
    tool_tag: str = _TOOL_TAG

    @property
    def source(self) -> str:
        """Return what the final result calls it."""
        return "words" if self.markers == PLAIN else "markers"

    @property
    def is_bare(self) -> bool:
        """Return whether the runtime must not put a template of its own around the text."""
        return False

    def whole(self, messages: Sequence[Message]) -> Text:
        """Return the conversation, up to where the template leads to the next answer."""
        if self.tools:
            tools = Message("system", _TOOLS.format(self.tools))
            at = 1 if messages[0].role == "system" else 0
            messages = [*messages[:at], tools, *messages[at:]]
        groups = [(is_answer, list(group)) for is_answer, group in groupby(messages, _is_answer)]
        parts: list[tuple[str, bool]] = []
        if len(groups) > 1 and self.source == "words":  # a question alone needs no "User:"
            parts.append((self.markers.after_answer.lstrip(), True))
        for is_answer, group in groups:
            parts += self._answers(group) if is_answer else self._questions(group)
        return Text.of(parts)

    def after(self, messages: Sequence[Message], known: int) -> tuple[Text, Text]:
        """Return what stands between the first ``known`` messages, the last of them an answer, and the rest; the rest.

        The first of the two the runtime puts there by itself when it goes on.
        """
        # The tools were told at the beginning.
        rest = InsideTemplate(self.markers, "", self.tool_tag).whole(messages[known:])
        return Text.of([(self.markers.after_answer, True)]), rest

    def lead(self, *, thinking: bool) -> Text:
        """Return what the runtime puts between the text and an answer that may begin with thoughts, or may not."""
        return Text.of([(self.markers.after_question + ("" if thinking else self.markers.no_thinking), True)])

    def _questions(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        """Return what is no answer: several messages make one turn."""
        parts: list[tuple[str, bool]] = []
        for message in messages:
            if parts:
                parts.append((_BETWEEN, False))
            if message.role == "tool":
                tag = self.tool_tag
                parts += [(f"<{tag}>\n", True), (message.text, message.special), (f"\n</{tag}>", True)]
            else:
                parts.append((message.text, message.special))
        return parts

    def _answers(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        said = _BETWEEN.join(filter(None, (_said(message) for message in messages)))
        lead = self.lead(thinking=messages[0].thinking)
        return [*lead.parts, (said, False), (self.markers.after_answer, True)]


def _is_answer(message: Message) -> bool:
    return message.role == "assistant"


def _said(message: Message) -> str:
    calls = [
        f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>' for name, arguments in message.calls
    ]
    return "\n".join(filter(None, [message.text, *calls]))
