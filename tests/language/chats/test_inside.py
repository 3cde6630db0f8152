"""A conversation inside one turn of the runtime's template."""

from __future__ import annotations

from rkllmd.language.chats.inside import InsideTemplate
from rkllmd.language.chats.markers import PLAIN, Markers
from rkllmd.language.chats.messages import Message, answer, question

TAGS = Markers("<E>\n<A>", "<E>\n<U>", "<no thoughts>")
TALK = (Message("system", "Be brief."), question("one"), answer("1"), question("two"), answer("2", thinking=True))


def test_markers_stand_between_the_turns_and_count_as_such() -> None:
    text = InsideTemplate(TAGS).whole([*TALK, question("<E>")])
    assert str(text) == "Be brief.\n\none<E>\n<A><no thoughts>1<E>\n<U>two<E>\n<A>2<E>\n<U><E>"
    meant = [text.encode()[start:end] for start, end in text.spans]
    assert meant == [b"<E>\n<A><no thoughts>", b"<E>\n<U>", b"<E>\n<A>", b"<E>\n<U>"], "not what a user has typed"


def test_in_words_a_question_alone_needs_none() -> None:
    template = InsideTemplate(PLAIN)
    assert str(template.whole(TALK[:2])) == "Be brief.\n\none"
    assert str(template.whole(TALK[1:4])) == "User: one\n\nAssistant: 1\n\nUser: two"
    assert str(template.whole(TALK[2:4])) == "User: \n\nAssistant: 1\n\nUser: two", "nobody has asked"


def test_it_goes_on_behind_an_answer() -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}
    talk = [question("one"), answer("", calls=[call]), Message("tool", "7"), question("and?")]
    between, rest = InsideTemplate(TAGS, '[{"name": "f"}]').after(talk, 2)
    assert str(between) == "<E>\n<U>"
    assert str(rest) == "<tool_response>\n7\n</tool_response>\n\nand?", "the tools were told before"


def test_tools_and_calls_are_told_in_the_form_that_most_models_know() -> None:
    call = {"function": {"name": "f", "arguments": '{"a": 1}'}}
    talk = [*TALK[:2], answer("Wait.", calls=[call]), Message("tool", "7")]
    text = str(InsideTemplate(TAGS, '[{"name": "f"}]', "r").whole(talk))
    assert text.startswith("Be brief.\n\n# Tools\n\n")
    assert '<tools>\n[{"name": "f"}]\n</tools>' in text
    assert text.endswith('Wait.\n<tool_call>{"name": "f", "arguments": {"a":1}}</tool_call><E>\n<U><r>\n7\n</r>')
    assert str(InsideTemplate(TAGS, "[]").whole([question("one")])).endswith("\n\none")


def test_what_leads_to_an_answer_is_the_runtimes() -> None:
    assert str(InsideTemplate(TAGS).lead(thinking=False)) == "<E>\n<A><no thoughts>"
    assert str(InsideTemplate(TAGS).lead(thinking=True)) == "<E>\n<A>"


def test_the_result_says_what_it_was() -> None:
    assert (InsideTemplate(PLAIN).source, InsideTemplate(TAGS).source) == ("words", "markers")
    assert not InsideTemplate(TAGS).is_bare
