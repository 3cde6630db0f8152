"""A conversation rendered by the model's own template: what the runtime gets needs no other template around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rkllmd.chat.templates.in_words import adapted
from rkllmd.chat.templates.model_template import ModelTemplate
from rkllmd.chat.templates.rendered import Rendered
from rkllmd.json_types import JsonObject
from rkllmd.language.chats.messages import Message
from rkllmd.language.chats.text import Text
from rkllmd.quick_dataclass import dataclass

# Stands for an answer that the cache holds, to see what follows it.
_ANSWER: Final = "the answer 6f1d0c93 before"


@dataclass(frozen=True, slots=True)
class OwnTemplate:
    """Renders conversations for one run; ``tools``: the functions that the model may call in it."""

    template: ModelTemplate
    tools: Sequence[JsonObject] | None
    thinking: bool
    tool_tag: str = "tool_response"

    @property
    def source(self) -> str:
        """Return what the final result calls it."""
        return "model"

    @property
    def is_bare(self) -> bool:
        """Return whether the runtime must not put a template of its own around the text."""
        return True

    @property
    def tells_in_words(self) -> bool:
        """Return whether the functions are told in words, which ask for calls in a form of their own."""
        return bool(self.tools) and not self.template.forms(with_tools=True).tools

    def whole(self, messages: Sequence[Message]) -> Text:
        """Return the conversation, up to where the next answer begins. Raises InvalidParams, RuntimeFailure."""
        rendered = self._rendered(messages)
        return self._text(messages, rendered, rendered)

    def after(self, messages: Sequence[Message], known: int) -> tuple[Text, Text] | None:
        """Return nothing, and what follows the first ``known`` messages, the last of them an answer.

        None for a template that does not show that answer, or not as it is. Raises InvalidParams, RuntimeFailure.
        """
        marked = [*messages[: known - 1], Message("assistant", _ANSWER), *messages[known:]]
        whole = self._rendered(marked)
        rest = whole.after(_ANSWER)
        return None if rest is None else (Text(), self._text(marked, whole, rest))

    def lead(self, *, thinking: bool) -> Text:
        """Return nothing: what leads to the answer is in the text."""
        return Text()

    def _text(self, messages: Sequence[Message], whole: Rendered, rest: Rendered) -> Text:
        """Return the rest in parts; what leads to the answer is the template's own, not what a user has written."""
        if whole.lead is not None:
            lead = whole.text[len(whole.text) - whole.lead :]
        else:
            asked = self._rendered(messages, answer=False).text
            lead = whole.text[len(asked) :] if whole.text.startswith(asked) else ""
        return Text.of([*rest.without_end(len(lead)).parts, (lead, True)])

    def _rendered(self, messages: Sequence[Message], *, answer: bool = True) -> Rendered:
        given = [message.given or self._of_session(message) for message in messages]
        told, tools = adapted(given, self.tools, self.template.forms(with_tools=self.tools is not None))
        return self.template.render(
            told,
            tools=tools,
            enable_thinking=self.thinking,
            add_generation_prompt=answer,
            special=any(message.special for message in messages),
        )

    def _of_session(self, message: Message) -> JsonObject:
        """Return a message as a client would give it: in sessions a function's result is a question between tags."""
        begin, end = f"<{self.tool_tag}>\n", f"\n</{self.tool_tag}>"
        if message.role == "user" and message.text.startswith(begin) and message.text.endswith(end):
            return {"role": "tool", "content": message.text[len(begin) : -len(end)]}
        return {"role": message.role, "content": message.text}
