"""How a model says what it means: chosen by the text of its chat template, which has the marks that it was taught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from rkllmd.chat.answers import ends, reasoning
from rkllmd.chat.answers.events import Reading
from rkllmd.chat.answers.formed import formed
from rkllmd.chat.answers.reasoning import Tags
from rkllmd.chat.answers.tool_calls.call import Answer
from rkllmd.chat.answers.tool_calls.deepseek import deepseek
from rkllmd.chat.answers.tool_calls.gemma import gemma
from rkllmd.chat.answers.tool_calls.harmony import harmony
from rkllmd.chat.answers.tool_calls.hermes import hermes, internlm, phi
from rkllmd.chat.answers.tool_calls.ids import new_id, new_short_id
from rkllmd.chat.answers.tool_calls.llama import llama
from rkllmd.chat.answers.tool_calls.minicpm import minicpm
from rkllmd.chat.answers.tool_calls.mistral import mistral
from rkllmd.chat.answers.tool_calls.qwen3_coder import qwen3_coder
from rkllmd.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """The marks of one family of models."""

    name: str
    # Reads an answer with tool calls in it.
    calls: Callable[[Answer], Reading[None]]
    new_id: Callable[[], str] = new_id
    reasoning: tuple[Tags, ...] = (reasoning.THINK,)
    # Whether ``calls`` tells thoughts from text as well, so that it is needed without tools too.
    has_channels: bool = False
    # What may stand at the end of an answer and is no part of it.
    ends: tuple[str, ...] = ()
    # The marks that its calls begin with; none where they have no mark, or other things have the same.
    openings: tuple[str, ...] = ()

    def opens_reasoning(self, prompt: str) -> bool:
        """Return whether a prompt, as it was rendered, ends with the mark that opens reasoning."""
        return prompt.rstrip().endswith(tuple(tags.opening for tags in self.reasoning))


DIALECTS: Final = {
    dialect.name: dialect
    for dialect in (
        Dialect("hermes", hermes, openings=("<tool_call>",)),
        Dialect("qwen3_coder", qwen3_coder, openings=("<tool_call>",)),
        Dialect("llama", llama, openings=("<|python_tag|>",)),
        Dialect("mistral", mistral, new_short_id, openings=("[TOOL_CALLS]",)),
        Dialect("deepseek", deepseek, openings=("<\uff5ctool\u2581calls\u2581begin\uff5c>",)),
        Dialect("gemma", gemma, openings=("<|tool_call>", "<start_function_call>")),
        Dialect("phi", phi, openings=("<|tool_call|>",)),
        Dialect("minicpm", minicpm, openings=("<|tool_call_start|>",)),
        Dialect("internlm", internlm, openings=("<|action_start|>",)),
        Dialect("harmony", harmony, reasoning=(), has_channels=True),
    )
}

# What stands in the templates of a dialect and in no other's before it in this list.
_SIGNS: Final = (
    ("<|channel|>", "harmony"),
    ("\u2581calls\u2581begin", "deepseek"),
    ("[TOOL_CALLS]", "mistral"),
    ("<|tool_call_start|>", "minicpm"),
    ("<|action_start|>", "internlm"),
    ("<|tool_call|>", "phi"),
    ("<|tool|>", "phi"),
    ("<function=", "qwen3_coder"),
    ("<tool_call>", "hermes"),
    ("<|tool_call>", "gemma"),
    ("<start_function_call>", "gemma"),
    ("<start_of_turn>", "gemma"),
    ("<|python_tag|>", "llama"),
    ("<|start_header_id|>", "llama"),
)
# What switches reasoning on and off in templates.
_SWITCH: Final = "enable_thinking"
# Without a template, or with one that has no marks for calls: what most small models know.
_DEFAULT: Final = "hermes"


def choose(template: str | None, name: str | None = None) -> Dialect:
    """Return the dialect of a chat template, or the one called ``name``, with the marks that the template has.

    Raises KeyError for a name that is in ``DIALECTS`` not.
    """
    template = template or ""
    if name is None:
        name = next((dialect for sign, dialect in _SIGNS if sign in template), _DEFAULT)
    tags = _tags(template)
    dialect = DIALECTS[name]
    marks = tuple(mark for mark in ends.KNOWN if mark in template)
    return replace(dialect, reasoning=tags if tags and dialect.reasoning else dialect.reasoning, ends=marks)


def in_form(dialect: Dialect) -> Dialect:
    """Return the dialect of an answer that is kept to a form if it does not begin with a call."""
    return replace(dialect, calls=formed(dialect.openings, dialect.calls), reasoning=(), ends=())


def thinks(template: str) -> bool:
    """Return whether a chat template has a place for reasoning, or a switch for it."""
    return _SWITCH in template or bool(_tags(template)) or choose(template).has_channels


def _tags(template: str) -> tuple[Tags, ...]:
    """Return the tags that it has. The closing one alone stands where the reasoning of earlier turns is cut out."""
    return tuple(each for each in reasoning.KNOWN if each.opening in template or each.closing in template)
