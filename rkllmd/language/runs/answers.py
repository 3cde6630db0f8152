"""How the answer of a conversation is read: what of it is reasoning, text, a call (``chat/answers``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkllmd.calls.declaration import Value
from rkllmd.chat.answers import dialect
from rkllmd.chat.answers.reading import AnswerReader
from rkllmd.errors import InvalidParams
from rkllmd.language.chats.own_template import OwnTemplate
from rkllmd.language.runs.rendering.markers import template_of

if TYPE_CHECKING:
    from rkllmd.chat.answers.dialect import Dialect
    from rkllmd.language.chats.reuse import Template
    from rkllmd.language.runs.run import Run
    from rkllmd.language.runs.turns.turn import ConversationTurn
    from rkllmd.language.texts.transcript import Transcript

RAW: Final = Value(
    "raw",
    {
        "type": ["boolean", "null"],
        "description": "true: the answer to messages as the model writes it, with its marks for reasoning and calls",
    },
    required=False,
    in_c=False,
)
# A model whose template the daemon does not render, or that has no place for tools, is told of them in words, which
# ask for calls in this form.
_TOLD: Final = "hermes"
# What stands around a call in it.
_CALL: Final = ("<tool_call>\n", "\n</tool_call>")


def check(run: Run) -> None:
    """Refuse what has no meaning for a plain run. Raises InvalidParams."""
    if run.raw is not None and run.messages is None:
        raise InvalidParams(
            "raw goes with messages; the answer to a prompt is as the model writes it anyway.",
            path="$.raw",
            keyword="dependentRequired",
        )


def read(run: Run, turn: ConversationTurn | None, transcript: Transcript) -> None:
    """Let the transcript tell what the answer to messages means, unless it is wanted raw; after the model was told."""
    if turn is None or turn.template is None or run.messages is None or run.raw:
        return
    if run.form is not None and run.form.is_call:
        transcript.read_call_by(AnswerReader(dialect.DIALECTS[_TOLD], tools=run.tools or ()), *_CALL)
        return
    spoken = _spoken(run, turn.template)
    if run.form is not None:
        if run.form.may_be_call:
            run.form.openings = spoken.openings
            transcript.read_form_by(AnswerReader(dialect.in_form(spoken), tools=run.tools or ()), spoken.openings)
        return
    # What a user has written at the end opens nothing, nor do empty messages, of which no text was told.
    last, is_control = (turn.told.text.parts or (("", False),))[-1]
    is_open = is_control and spoken.opens_reasoning(last)
    transcript.read_by(AnswerReader(spoken, stop=run.stop, tools=run.tools or (), is_open=is_open))


def _spoken(run: Run, told_by: Template) -> Dialect:
    """Return the dialect in which the model answers, which follows from the template that it is told by."""
    own = told_by if isinstance(told_by, OwnTemplate) else None
    template = template_of(run.model, run.language.runtime.name) if own is None else own.template.source
    is_told = told_by.source != "model" or (own is not None and own.tells_in_words)
    return dialect.choose(template, run.model.dialect or (_TOLD if is_told else None))
