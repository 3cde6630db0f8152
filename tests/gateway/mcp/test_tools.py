"""Arguments of tools become requests for the daemon."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.mcp import tools
from rkllmd.gateway.mcp.tools import Classifier
from rkllmd.gateway.pictures.given import Picture

CLASSIFIERS = {"digits": Classifier("/m/digits.rknn", ("zero",)), "birds": Classifier("/m/birds.rknn")}


def test_pictures_are_classified_where_something_is_declared_for_it() -> None:
    assert [item.name for item in tools.offered({})] == ["generate", "chat", "embed"]
    *_, classify = tools.offered(CLASSIFIERS)
    assert classify.schema["properties"]["classifier"]["enum"] == ["digits", "birds"]


def test_a_prompt_is_a_conversation_of_one_question() -> None:
    asked = {"prompt": "Hi", "system": "Be brief.", "max_tokens": 3, "model": "demo", "temperature": 0}
    wanted = tools.read_generate(asked)
    assert wanted.model == "demo"
    assert wanted.params["max_new_tokens"] == 3
    assert wanted.params["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]
    (said,) = tools.read_generate({"prompt": "Hi", "image": "data:image/png;base64,AAEC"}).params["messages"]
    assert said["content"] == [Picture("image", b"\0\1\2").part(), {"type": "text", "text": "Hi"}]


def test_a_conversation_is_that_of_chat_completions() -> None:
    said = [{"role": "user", "content": "Hi"}]
    assert tools.read_chat({"messages": said, "seed": 1}).params == {"messages": said, "seed": 1}


def test_texts_become_vectors() -> None:
    wanted = tools.read_embed({"texts": ["a", "b"], "model": "demo"})
    assert (wanted.model, wanted.texts) == ("demo", ["a", "b"])


@pytest.mark.parametrize(
    ("read", "arguments", "name"),
    [
        (tools.read_generate, {}, "prompt"),
        (tools.read_generate, {"prompt": "Hi", "max_tokens": "x"}, "max_tokens"),
        (tools.read_generate, {"prompt": "Hi", "image": "A"}, "image"),
        (tools.read_generate, {"prompt": "Hi", "promt": ""}, "promt"),
        (tools.read_generate, {"prompt": "Hi", "messages": []}, "messages"),
        (tools.read_generate, {"prompt": "Hi", "n": 2}, "n"),
        (tools.read_chat, {"messages": []}, "messages"),
        (tools.read_chat, {"messages": [{"role": "user", "content": "Hi"}], "logprobs": True}, "logprobs"),
        (tools.read_embed, {}, "texts"),
        (tools.read_embed, {"texts": ["a", ""]}, "texts[1]"),
        (lambda given: tools.read_classify(given, CLASSIFIERS), {}, "image"),
        (lambda given: tools.read_classify(given, CLASSIFIERS), {"image": "AAEC", "classifier": "cats"}, "classifier"),
        (lambda given: tools.read_classify(given, CLASSIFIERS), {"image": "AAEC", "count": 0}, "count"),
    ],
)
def test_a_wrong_argument_is_named(read: Any, arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(WrongField) as refused:
        read(arguments)
    assert refused.value.name == name


def test_classes_have_names_where_these_are_known() -> None:
    asked = tools.read_classify({"image": "AAEC", "count": 1000}, CLASSIFIERS)
    assert (asked.classifier, asked.count) == (CLASSIFIERS["digits"], 100)
    top = [{"index": 0, "score": 0.75}, {"index": 1, "score": 0.25}]
    named = [{"index": 0, "label": "zero", "score": 0.75}, {"index": 1, "label": "1", "score": 0.25}]
    assert tools.classes(top, ("zero",)) == named
