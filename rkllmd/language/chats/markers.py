"""What stands between the turns of a conversation in the text that a model reads.

It is needed when a model is given a conversation anew, as one prompt. The C API does not show a model's own template,
so the markers are known only if somebody has set a template, or if the model's file can be read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from rkllmd.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Markers:
    """``after_question`` leads to the answer, ``after_answer`` to the next question.

    ``no_thinking`` precedes an answer that had to be given without thinking.
    """

    after_question: str
    after_answer: str
    no_thinking: str = ""


PLAIN: Final = Markers("\n\nAssistant: ", "\n\nUser: ")
_CHATML: Final = Markers("<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n<|im_start|>user\n")
# By text that is typical of the template.
_KNOWN: Final = (
    ("<|im_start|>", _CHATML),
    (
        "<|start_header_id|>",
        Markers(
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
        ),
    ),
    ("<start_of_turn>", Markers("<end_of_turn>\n<start_of_turn>model\n", "<end_of_turn>\n<start_of_turn>user\n")),
    ("<|assistant|>", Markers("<|end|>\n<|assistant|>\n", "<|end|>\n<|user|>\n")),
)
_NO_THINKING: Final = "<think>\n\n</think>\n\n"
_FIRST_TAG: Final = re.compile(r"<[^<>\s]+>\n?")


def of_template(strings: Sequence[bytes]) -> Markers:
    """Return the markers that follow from rkllm_set_chat_template(system_prompt, prompt_prefix, prompt_postfix).

    A postfix ends the question and begins the answer. If it has several tags, the first one ends a turn.
    """
    prefix, postfix = (item.decode("utf-8", "replace") for item in strings[1:3])
    tag = _FIRST_TAG.match(postfix)
    end = tag.group() if tag is not None and tag.end() < len(postfix) else ""
    return Markers(postfix, end + prefix) if prefix or postfix else PLAIN


def of_gguf(template: str | None) -> Markers:
    """Return the markers of a Jinja template, recognised by typical text; plain words if it is unknown or None."""
    found = next((markers for mark, markers in _KNOWN if template is not None and mark in template), None)
    if template is None or found is None:
        return PLAIN
    thinks = "enable_thinking" in template
    return Markers(found.after_question, found.after_answer, _NO_THINKING if thinks else "")
