"""The answer of /v1/responses: the daemon's results as the events of a stream, or as one response."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.openai import shape
from rkllmd.gateway.openai.tools.custom import said
from rkllmd.gateway.run import NumberedAnswer, WholeCalls, arguments_text, check_ended, held_back
from rkllmd.json_types import Json, JsonObject

_IDS: Final = {"reasoning": "rs", "message": "msg", "function_call": "fc", "custom_tool_call": "ctc"}
# The member with what is called with, and the event that brings it.
_CALLED_WITH: Final = {
    "function_call": ("arguments", "function_call_arguments"),
    "custom_tool_call": ("input", "custom_tool_call_input"),
}


@dataclass(frozen=True)
class _Text:
    """What the text of an item is called: its only part, in which member that is; which events bring text and part."""

    part: str
    member: str
    text_event: str
    part_event: str
    index: str


_MESSAGE: Final = _Text("output_text", "content", "output_text", "content_part", "content_index")
_THOUGHTS: Final = _Text("reasoning_text", "content", "reasoning_text", "content_part", "content_index")
_SUMMARY: Final = _Text("summary_text", "summary", "reasoning_summary_text", "reasoning_summary_part", "summary_index")


class ResponseAnswer(NumberedAnswer):
    """An answer, made of items: thoughts, a message, and calls, each whole. The ladder of events is OpenAI's."""

    number: ClassVar[str] = "sequence_number"

    def __init__(
        self,
        model: str,
        answer_id: str,
        created: int,
        repeated: JsonObject,
        *,
        named: Mapping[str, JsonObject] = MappingProxyType({}),
        custom: frozenset[str] = frozenset(),
        single_call: bool = False,
    ) -> None:
        """Begin; ``created`` is in seconds since 1970, ``repeated`` what is repeated of the request.

        ``named``: by the name that a function has for the model, the members by which its calls name it. The others
        are as in ``Wanted``.
        """
        self._model = model
        self._id = answer_id
        self._created = created
        self._repeated = repeated
        self._custom = custom
        self._named = named
        asked = repeated.get("reasoning") or {}
        # Many clients show no thoughts but a summary, which is for thoughts that are kept secret: here they are not.
        is_summary = asked.get("summary") or asked.get("generate_summary")
        self._texts = {"message": _MESSAGE, "reasoning": _SUMMARY if is_summary else _THOUGHTS}
        self.next_number = 0
        self._calls = WholeCalls(single=single_call)
        # Those that have ended; the one that has begun; its text so far.
        self._items: list[Json] = []
        self._open: JsonObject | None = None
        self._text = ""

    def begin(self) -> Iterable[JsonObject]:
        """Return the events with the empty response."""
        for kind in ("created", "in_progress"):
            yield self._event(f"response.{kind}", {"response": self._response("in_progress", [])})

    def partial(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return the events of what has come."""
        if reasoning := result.get("reasoning"):
            yield from self._grow("reasoning", reasoning)
        if text := result.get("text"):
            yield from self._grow("message", text)
        for call in self._calls.take(result):
            yield from self._end_item()
            yield from self._call(call)

    def _call(self, call: JsonObject) -> Iterable[JsonObject]:
        whole = self._whole_call(call)
        member, event = _CALLED_WITH[whole["type"]]
        yield self._added({**whole, member: "", "status": "in_progress"})
        yield self._of_item(f"response.{event}.delta", {"delta": whole[member]})
        yield self._of_item(f"response.{event}.done", {"name": whole["name"], member: whole[member]})
        yield self._done(whole)

    def _grow(self, kind: str, text: str) -> Iterable[JsonObject]:
        """Yield what makes the last item longer, after the beginning of a new one where that is of another kind."""
        if self._open is None or self._open["type"] != kind:
            yield from self._end_item()
            yield from self._begin_item(kind)
        event = self._delta(kind, text)
        self.passed(text, 1)
        yield event

    def plain(self, name: str, words: str) -> JsonObject | None:
        """Return the event of words, where their item has begun."""
        kind = "message" if name == "text" else "reasoning"
        return self._delta(kind, words) if self._open is not None and self._open["type"] == kind else None

    def passed(self, words: str, count: int) -> None:
        """Count the events of words, which make the last item longer."""
        self.next_number += count
        self._text += words

    def _delta(self, kind: str, words: str) -> JsonObject:
        told = self._texts[kind]
        more: JsonObject = {told.index: 0, "delta": words} | ({"logprobs": []} if kind == "message" else {})
        return self._next(f"response.{told.text_event}.delta", {**self._place(), **more})

    def _begin_item(self, kind: str) -> Iterable[JsonObject]:
        yield self._added(self._item(kind, None))
        yield self._part_event(kind, "added", "")

    def _end_item(self) -> Iterable[JsonObject]:
        if self._open is None:
            return
        kind, text = self._open["type"], self._text
        told = self._texts[kind]
        done: JsonObject = {told.index: 0, "text": text} | ({"logprobs": []} if kind == "message" else {})
        yield self._of_item(f"response.{told.text_event}.done", done)
        yield self._part_event(kind, "done", text)
        yield self._done(self._item(kind, text))

    def _part_event(self, kind: str, what: str, text: str) -> JsonObject:
        told = self._texts[kind]
        members: JsonObject = {told.index: 0, "part": self._part(kind, text)}
        return self._of_item(f"response.{told.part_event}.{what}", members)

    def _part(self, kind: str, text: str) -> JsonObject:
        part: JsonObject = {"type": self._texts[kind].part, "text": text}
        return part | ({"annotations": [], "logprobs": []} if kind == "message" else {})

    def _added(self, item: JsonObject) -> JsonObject:
        self._open, self._text = item, ""
        return self._event("response.output_item.added", {"output_index": len(self._items), "item": item})

    def _done(self, item: JsonObject) -> JsonObject:
        event = self._event("response.output_item.done", {"output_index": len(self._items), "item": item})
        self._items.append(item)
        self._open = None
        return event

    def final(self, result: JsonObject) -> Iterable[JsonObject]:
        """Return what was held back, and the whole response with how many tokens it took."""
        yield from self.partial(held_back(check_ended(result)))
        if self._open is None and not any(item["type"] != "reasoning" for item in self._items):
            yield from self._begin_item("message")
        yield from self._end_item()
        status = _status(result)
        yield self._event(f"response.{status}", {"response": self._response(status, self._items, result)})

    def whole(self, result: JsonObject) -> JsonObject:
        """Return the answer as one object."""
        check_ended(result)
        calls = self._calls.all(result)
        if reasoning := result.get("reasoning"):
            self._items.append(self._item("reasoning", reasoning))
        if result["text"] or not calls:
            self._items.append(self._item("message", result["text"]))
        for call in calls:
            self._items.append(self._whole_call(call))
        return self._response(_status(result), self._items, result)

    def idle(self) -> Iterable[JsonObject]:
        """Return nothing: comments keep the connection alive."""
        return ()

    def error(self, failure: Failure) -> JsonObject:
        """Return the error that ends a stream; ``error`` in it is what openai's client looks for."""
        error = shape.error_body(failure)["error"]
        told = {name: error[name] for name in ("code", "message", "param")}
        return self._event("error", {**told, "error": error})

    def _event(self, kind: str, members: JsonObject) -> JsonObject:
        event = self._next(kind, members)
        self.next_number += 1
        return event

    def _next(self, kind: str, members: JsonObject) -> JsonObject:
        """Return an event without counting it."""
        return {"type": kind, "sequence_number": self.next_number, **members}

    def _of_item(self, kind: str, members: JsonObject) -> JsonObject:
        return self._event(kind, {**self._place(), **members})

    def _place(self) -> JsonObject:
        assert self._open is not None
        return {"item_id": self._open["id"], "output_index": len(self._items)}

    def _next_id(self, kind: str) -> str:
        return f"{_IDS[kind]}_{self._id.removeprefix('resp_')}{len(self._items)}"

    def _item(self, kind: str, text: str | None) -> JsonObject:
        """Return thoughts or a message; with None for its text, one that has begun."""
        status = "in_progress" if text is None else "completed"
        more: JsonObject = {"summary": []} if kind == "reasoning" else {"role": "assistant"}
        item: JsonObject = {"id": self._next_id(kind), "type": kind, "status": status, "content": [], **more}
        return item if text is None else {**item, self._texts[kind].member: [self._part(kind, text)]}

    def _whole_call(self, call: JsonObject) -> JsonObject:
        name = call["function"]["name"]
        is_custom = name in self._custom
        kind = "custom_tool_call" if is_custom else "function_call"
        member, _ = _CALLED_WITH[kind]
        return {
            "id": self._next_id(kind),
            "type": kind,
            "status": "completed",
            "call_id": call["id"],
            **self._named.get(name, {"name": name}),
            member: said(call) if is_custom else arguments_text(call),
        }

    def _response(self, status: str, output: list[Json], result: JsonObject | None = None) -> JsonObject:
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": None,
            "max_output_tokens": None,
            "metadata": {},
            "model": self._model,
            "output": list(output),
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": None,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "truncation": "disabled",
            "usage": None if result is None else _usage(result),
            **self._repeated,
        }


def _status(result: JsonObject) -> str:
    return "incomplete" if shape.finish_reason(result) == "length" else "completed"


def _usage(result: JsonObject) -> JsonObject:
    found = shape.usage(result)
    cached = found["prompt_tokens_details"]["cached_tokens"]
    return {
        "input_tokens": found["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": found["completion_tokens"],
        # How many of them were thoughts, the runtimes do not say.
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": found["total_tokens"],
    }
