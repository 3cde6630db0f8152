"""Turns of sessions: what is asked, how the conversation is written anew, what is kept of the run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rkllmd.language.kv_cache import KvCache
from rkllmd.language.runs import turns
from rkllmd.language.runs.run import Run
from rkllmd.language.sessions.sessions import Session, Sessions, Turn


def test_what_a_prompt_cache_has_spared_the_model_tells_nothing_about_tokens() -> None:
    """Else a token would seem as long as a page, and the whole conversation to fit into any context."""
    talk = Session(1000, "kitchen", "/models/a", 0, 0)
    talk.add(Turn("1", "one"), 10**6, 0)
    kv_cache = KvCache()
    kv_cache.take_turn(talk, keep_history=True)
    calls: list[str] = []
    config, store = SimpleNamespace(session_bytes=1000), Sessions()
    runtime = SimpleNamespace(call=lambda function, *_: calls.append(function))
    language: Any = SimpleNamespace(config=config, sessions=store, runtime=runtime)
    model: Any = SimpleNamespace(pointer=1, kv_cache=kv_cache)
    nothing: Any = None
    run = Run(language, nothing, model, nothing, nothing)
    transcript = SimpleNamespace(tokens=2, so_far=lambda: {"text": "two"})
    generation: Any = SimpleNamespace(transcript=transcript, perf={"prefill_tokens": 2})
    cache: Any = object()
    turn = turns.SessionTurn(talk, "2", thinking=False, prompt_bytes=1000, loaded=cache)
    before = talk.bytes_per_token
    turns.end(run, turn, succeeded=True)
    assert calls == ["rkllm_release_prompt_cache"]
    assert turns.note(language, turn, generation)["session"]["turns"] == 2
    assert talk.bytes_per_token == before
    turns.note(language, turns.SessionTurn(talk, "3", thinking=False, prompt_bytes=1000), generation)
    assert talk.bytes_per_token == 500, "all of this one was read"
