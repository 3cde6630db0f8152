"""What is known of a turn after its run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rkllmd.language.chats.held import Chat
from rkllmd.language.chats.inside import InsideTemplate
from rkllmd.language.chats.markers import PLAIN
from rkllmd.language.chats.messages import question
from rkllmd.language.chats.reuse import Telling
from rkllmd.language.chats.text import Text
from rkllmd.language.kv_cache import KvCache
from rkllmd.language.runs.run import Run
from rkllmd.language.runs.turns import result
from rkllmd.language.runs.turns.turn import ConversationTurn
from rkllmd.language.sessions.sessions import Session, Sessions, Turn


def test_what_the_model_did_not_have_to_read_tells_nothing_about_tokens() -> None:
    """Else a token would seem as long as a page, and the whole conversation to fit into any context."""
    talk = Session(1000, "kitchen", "/models/a", 0, 0)
    talk.add(Turn("1", "one"), 10**6, 0)
    chat = Chat(1000, talk.number, "kitchen")
    kv_cache = KvCache()
    kv_cache.take_turn(chat, keep_history=True)
    language: Any = SimpleNamespace(config=SimpleNamespace(session_bytes=1000), sessions=Sessions())
    model: Any = SimpleNamespace(pointer=1, kv_cache=kv_cache)
    nothing: Any = None
    run = Run(language, nothing, model, nothing, nothing)
    transcript = SimpleNamespace(
        tokens=2, so_far=lambda: {"text": "two"}, is_stopped=False, stopped_by="x", raw=lambda: "twoxthree"
    )
    generation: Any = SimpleNamespace(
        transcript=transcript, perf={"prefill_tokens": 2}, abort_requested=False, has_gone_on=False
    )
    whole = Text((("x" * 1000, False),))

    def noted(cached: int) -> dict[str, Any]:
        turn = ConversationTurn(chat, (question("2"),), thinking=False, session=talk)
        turn.template, turn.telling = InsideTemplate(PLAIN), Telling(whole, whole, goes_on=False)
        turn.cached_tokens = cached
        return result.note(run, turn, generation)

    before = talk.bytes_per_token
    said = noted(5)
    assert (said["session"]["turns"], said["prompt_tokens"], said["cached_tokens"]) == (2, 7, 5)
    assert talk.bytes_per_token == before
    noted(0)
    assert talk.bytes_per_token == 500, "all of this one was read"
    assert kv_cache.held is not None
    assert str(kv_cache.held.text).endswith("x\n\nAssistant: two")
