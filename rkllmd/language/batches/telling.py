"""Conversations in a batch: each lane is told all of its own, in a sequence that may have its beginning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rkllmd.errors import RpcError
from rkllmd.language.batches.company import Company, Lane
from rkllmd.language.batches.sequences import Said, choose
from rkllmd.language.chats.reuse import plan
from rkllmd.language.runs import answers, guiding
from rkllmd.language.runs.rendering import plain_prompts
from rkllmd.language.runs.turns import request, telling

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language
    from rkllmd.language.runs.turns.turn import ConversationTurn


def begin(company: Company) -> None:
    """Read what each lane is to be told; close those of which that is wrong. On the worker thread."""
    for lane in company.lanes:
        if not lane.is_open:
            continue
        try:
            guiding.begin(lane.run)
            if lane.run.messages is None:
                plain_prompts.check_length(lane.run)
            else:
                lane.turn = request.of_messages(lane.run, lane.run.messages)
                telling.choose_template(lane.run, lane.turn)
        except RpcError as error:
            refuse(company, lane, error)


def place(language: Language, model: Model, lanes: Sequence[Lane]) -> None:
    """Choose a sequence of the cache for each lane, and note what that holds. On the worker thread."""
    if language.runtime.extension is None:  # all is read anew
        return
    sequences = dict(model.kv_cache.sequences)  # the event loop may note meanwhile what the last batch has said
    for lane, sequence in zip(lanes, choose(sequences, model.n_batch, [_said(lane) for lane in lanes]), strict=True):
        lane.sequence, lane.held = sequence, None
        if lane.turn is not None and sequence in sequences:
            chat, held = sequences[sequence]
            lane.held = held if chat.user == lane.turn.chat.user else None


def tell(language: Language, company: Company, lanes: Sequence[Lane]) -> None:
    """Make each conversation its lane's prompt; close the lanes of which none can be made."""
    for lane in lanes:
        try:
            if lane.turn is not None:
                _tell(language, lane, lane.turn)
            guiding.renew(lane.run)  # by what the model was told: of which functions
        except RpcError as error:
            refuse(company, lane, error)


def refuse(company: Company, lane: Lane, error: RpcError) -> None:
    """Close a lane, whose run has an error instead of a result."""
    lane.refusal = error
    company.close(lane)


def _said(lane: Lane) -> Said | None:
    turn = lane.turn
    return None if turn is None else Said(turn.chat.user, turn.basis, [message.digest for message in turn.messages])


def _tell(language: Language, lane: Lane, turn: ConversationTurn) -> None:
    template = turn.template
    assert template is not None, "chosen when it began"
    compares_tokens = language.runtime.extension is not None
    planned = plan(lane.held, turn.basis, turn.messages, template, compares_tokens=compares_tokens)
    turn.telling = planned.from_the_beginning()
    telling.check_length(lane.run, turn)
    turn.sequence = lane.sequence if compares_tokens else None
    telling.give(lane.run, turn)
    answers.read(lane.run, turn, lane.generation.transcript)
