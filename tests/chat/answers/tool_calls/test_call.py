"""One call, and what is text of an answer while calls are read."""

from __future__ import annotations

from rkllmd.chat.answers.events import CallArguments, CallBegan, CallDropped, CallEnded, Event, Text
from rkllmd.chat.answers.prose import Prose
from rkllmd.chat.answers.source import Source
from rkllmd.chat.answers.tool_calls.call import Answer, Call


def made() -> tuple[Answer, list[Event]]:
    events: list[Event] = []
    source = Source()
    prose = Prose(events.append, before_calls=True)
    return Answer(source, prose, events.append, {"search": {}, "a.b": {}}, lambda: "id"), events


def test_arguments_wait_for_the_name() -> None:
    answer, events = made()
    call = Call(answer)
    call.argue('{"a"')
    assert events == []
    call.name = "search"
    call.argue(": 1}")
    assert events == [CallBegan(0, "id", "search"), CallArguments(0, '{"a": 1}')]
    assert call.end('{"a": 1}')
    assert events[2:] == [CallEnded(0, "id", "search", {"a": 1}, '{"a": 1}')]


def test_arguments_in_a_string_are_those_within_it() -> None:
    answer, events = made()
    call = Call(answer)
    call.name = "search"
    assert call.end('"{\\"a\\":1}"')
    text = '{"a": 1}'
    assert events == [
        CallBegan(0, "id", "search"), CallArguments(0, text), CallEnded(0, "id", "search", {"a": 1}, text)
    ]  # fmt: skip


def test_a_call_that_had_begun_is_told_to_be_none() -> None:
    answer, events = made()
    call = Call(answer)
    call.name = "search"
    call.argue('{"a": x}')
    assert not call.end('{"a": x}')
    assert events[2:] == [CallDropped(0)]
    following = Call(answer)
    following.name = "search"
    following.end_with({})
    assert events[-1] == CallEnded(1, "id", "search", {}, "{}")


def test_a_call_that_nobody_heard_of_is_dropped_in_silence() -> None:
    answer, events = made()
    assert not Call(answer).end("{}")
    call = Call(answer)
    call.name = "search"
    assert not call.end("[]")
    assert events == []


def test_a_module_before_a_tools_name_is_none_of_it() -> None:
    answer, _ = made()
    assert [answer.tool(name) for name in ("search", "api.search", "a.b", "x.y")] == ["search", "search", "a.b", "x.y"]


def test_what_an_attempt_has_read_becomes_text() -> None:
    answer, events = made()
    answer.source.feed("a <b>c</b>d")
    reading = answer.text_until("<b>", "<c>")
    assert next(reading, None) is None
    assert events == [Text("a")]
    raw = answer.raw_until("</b>")
    assert next(raw, None) is None
    answer.fail()
    assert events == [Text("a"), Text(" <b>c</b>")]
    assert answer.source.take_all() == "d"


def test_a_mark_that_closes_nothing_leaves_the_text_as_it_is() -> None:
    answer, events = made()
    answer.source.feed("  d")
    answer.source.has_ended = True
    assert next(answer.close("</b>"), None) is None
    answer.prose.write(answer.source.take_all())
    assert events == [Text("  d")]
