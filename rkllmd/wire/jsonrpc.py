"""JSON-RPC 2.0 without I/O: bytes to requests and batches, results and errors to bytes.

Source: the JSON-RPC 2.0 specification (https://www.jsonrpc.org/specification); docs/protocol.md, sections 1, 2 and 6.
Two parts, in the order in which a line (``lines.LineBuffer``) meets them:

1. ``parse``: one line to Requests. It raises nothing: what is no Request comes back as ``Rejected``.
2. ``Exchange``: what one connection has in flight, which ids are taken, which batch a call belongs to, and the bytes of
   each answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

import orjson

from rkllmd.errors import DuplicateId, InternalError, InvalidRequest, OutOfMemory, ParseError, RpcError
from rkllmd.json_types import Json, JsonObject
from rkllmd.quick_dataclass import dataclass
from rkllmd.wire import long_strings, members, weight
from rkllmd.wire.budget import Holding
from rkllmd.wire.descriptors import NO_DESCRIPTORS, Descriptors
from rkllmd.wire.long_bytes import LongBytes, is_blank

# geth takes 1000 items. A batch is answered only when its last request is done, so on one NPU a long batch is useless:
# pipelining serves better.
MAX_BATCH: Final = 64
# SPDK takes 128 bytes; a UUID has 36. An id is repeated in every partial result.
MAX_ID_LENGTH: Final = 128
_INT64_MIN: Final = -(2**63)
_UINT64_MAX: Final = 2**64 - 1

Id = str | int | None
Params = list[Json] | JsonObject


class _Absent:
    """The type of ``ABSENT``: a request without an id is a notification, one with ``"id": null`` is not."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
_NO_PARAMS: Final[list[Json]] = []


@dataclass(slots=True)  # a frozen one takes three times as long to make
class Request:
    """A valid Request or notification; ``members`` are the object's members beside the specification's four."""

    id: Id | _Absent
    method: str
    params: Params
    members: JsonObject


@dataclass(slots=True, frozen=True)
class Rejected:
    """What stands in the place of something that is no Request: the error that answers it."""

    id: Id
    error: RpcError


class Unsolicited:
    """A Response sent to the server; it is dropped, since an error in answer to it could let two servers loop for ever.

    Also a long blank line, which is dropped as well.
    """


UNSOLICITED: Final = Unsolicited()
Message = Request | Rejected | Unsolicited


# What the decoder says of that, as of a mistake in the line.
_NO_MEMORY: Final = "Not enough memory"


def parse(line: LongBytes) -> Message | list[Message]:
    """Turn one line into a message, or into a list of them for a batch. Raises nothing."""
    if not isinstance(line, bytes) and is_blank(line):  # short blank lines were left out already, by the LineBuffer
        return UNSOLICITED
    try:
        value = long_strings.loads(line)
    except orjson.JSONDecodeError as error:
        if _NO_MEMORY in error.msg:
            told = OutOfMemory("The machine has no memory left to parse this line: send it again later.")
            return Rejected(weight.id_of(line), told)
        # The decoder's own words never hold the input; it counts characters, not bytes.
        return Rejected(None, ParseError(f"The line is not valid JSON: {error.msg} at character {error.pos}."))
    if len(line) >= long_strings.LONG:
        _make_plain_beside_params(value)
    if type(value) is not list:
        return _message(value)
    if not value:
        return Rejected(None, InvalidRequest("A batch holds at least one Request."))
    if len(value) > MAX_BATCH:
        detail = f"A batch holds at most {MAX_BATCH} Requests, this one {len(value)}: send them one per line."
        return Rejected(None, InvalidRequest(detail, limit=MAX_BATCH))
    return [_message(item) for item in value]


def _make_plain_beside_params(value: Json) -> None:
    """Leave LongStrings only below "params": nobody expects them elsewhere."""
    for message in value if type(value) is list else [value]:
        if type(message) is dict:
            message.update({name: long_strings.plain(item) for name, item in message.items() if name != "params"})


def _message(value: Json) -> Message:
    """Judge one parsed value; the order matters: an object that is no Request is answered even without an id."""
    if type(value) is not dict:
        return Rejected(None, InvalidRequest("A Request is a JSON object."))
    if "method" not in value and ("result" in value or "error" in value):
        return UNSOLICITED
    request_id = value.pop("id", ABSENT)
    if request_id is not ABSENT and (fault := _id_fault(request_id)):
        return Rejected(None, InvalidRequest(fault))
    answer_id = None if isinstance(request_id, _Absent) else request_id
    if value.pop("jsonrpc", None) != "2.0":
        return Rejected(answer_id, InvalidRequest('The member "jsonrpc" must be "2.0".'))
    method = value.pop("method", None)
    if type(method) is not str:
        return Rejected(answer_id, InvalidRequest('The member "method" must be a string.'))
    params = value.pop("params", _NO_PARAMS)
    if params is None:  # clients in typed languages write it for "none"; it can't mean anything else
        params = _NO_PARAMS
    if type(params) is not list and type(params) is not dict:
        return Rejected(answer_id, InvalidRequest('The member "params" must be an array or an object.'))
    return Request(request_id, method, params, value)


def _id_fault(value: Json) -> str | None:
    """Say why this id can't be echoed exactly, or nothing. Beware that ``isinstance(True, int)`` holds in Python."""
    if value is None:
        return None
    if type(value) is str:
        return None if len(value) <= MAX_ID_LENGTH else f"An id has at most {MAX_ID_LENGTH} characters."
    if type(value) is int and _INT64_MIN <= value <= _UINT64_MAX:
        return None
    return "An id is a string, an integer from -2^63 to 2^64-1, or null."


# One line to send; in several pieces where it holds a LongText.
Line = bytes | list[bytes]


class Batch:
    """The answers of one batch, encoded, until the last of its requests is done."""

    __slots__ = ("_pieces", "_waiting", "size")

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[bytes] = []
        self._waiting = 0

    def expect(self) -> None:
        """Note one more request that is not done."""
        self._waiting += 1

    def add(self, answer: JsonObject) -> None:
        """Take an answer."""
        line = _encode(answer)
        *pieces, last = [line] if isinstance(line, bytes) else line
        pieces = [b"," if self._pieces else b"[", *pieces, last.removesuffix(b"\n")]
        self._pieces += pieces
        self.size += sum(map(len, pieces))

    def done(self, answer: JsonObject | None) -> Line:
        """Note that a request is done; return the array of answers if it was the last one, nothing before that."""
        if answer is not None:
            self.add(answer)
        self._waiting -= 1
        return b"" if self._waiting else self.close()

    def close(self) -> Line:
        """Return the array of answers; nothing, and not ``[]``, for a batch of notifications only."""
        pieces, self._pieces, size, self.size = self._pieces, [], self.size, 0
        if not pieces:
            return b""
        pieces.append(b"]\n")
        if size < long_strings.LONG:
            with contextlib.suppress(MemoryError):
                return b"".join(pieces)
        return pieces


class Call:
    """One request of a connection, from its arrival to its answer."""

    __slots__ = ("batch", "fds", "finished", "holding", "id", "is_notification", "members", "method", "params")

    def __init__(self, request: Request, batch: Batch | None) -> None:
        self.is_notification = isinstance(request.id, _Absent)
        self.id: Id = None if isinstance(request.id, _Absent) else request.id
        self.method = request.method
        self.params = request.params
        self.members = members.parse(request.members) if request.members else members.NO_MEMBERS
        self.batch = batch
        self.finished = False
        # The file descriptors that came with it. They are closed when the call is answered, or later: its work may
        # still go on then, and have them lent.
        self.fds: Descriptors = NO_DESCRIPTORS
        # What its line takes of the user's memory, until it is answered; None for a short one.
        self.holding: Holding | None = None


class Exchange:
    """The calls of one connection: ``receive`` gives them out, and ``finish`` or ``fail`` ends each of them."""

    def __init__(self) -> None:
        self._in_flight: dict[str | int, Call] = {}
        self.open_calls = 0
        # Of answers in batches that are not complete.
        self.waiting_bytes = 0

    def find(self, call_id: Id) -> Call | None:
        """Return the call in flight with this id."""
        return None if call_id is None else self._in_flight.get(call_id)

    def receive(self, message: Message | list[Message]) -> tuple[list[Call], Line]:
        """Take a parsed line: return the calls to make, and the bytes to send at once.

        Each returned call must be given to ``finish`` or ``fail`` exactly once.
        """
        if type(message) is list:
            return self._receive_batch(message)
        if isinstance(message, Request):
            taken = self._take(message, None)
            if isinstance(taken, Call):
                return [taken], b""
            message = taken
        return [], (_encode(_error_answer(message.id, message.error)) if isinstance(message, Rejected) else b"")

    def finish(self, call: Call, result: Json, fds: int = 0) -> Line:
        """Answer ``call`` with ``result``, beside which ``fds`` file descriptors go; return the line to send now."""
        answer = {"jsonrpc": "2.0", "id": call.id, "result": result}
        return self._answer(call, {**answer, "fds": fds} if fds else answer)

    def fail(self, call: Call, error: RpcError) -> Line:
        """Answer ``call`` with ``error``; return the line to send now."""
        return self._answer(call, _error_answer(call.id, error))

    def _receive_batch(self, messages: list[Message]) -> tuple[list[Call], Line]:
        batch = Batch()
        calls = []
        for message in messages:
            taken = self._take(message, batch) if isinstance(message, Request) else message
            if isinstance(taken, Call):
                calls.append(taken)
                batch.expect()
            elif isinstance(taken, Rejected):
                batch.add(_error_answer(taken.id, taken.error))
        return calls, (b"" if calls else batch.close())

    def _take(self, request: Request, batch: Batch | None) -> Call | Rejected:
        call = Call(request, batch)
        if call.id is not None:
            if call.id in self._in_flight:
                detail = "A request with this id is still in flight on this connection; use another id."
                return Rejected(call.id, DuplicateId(detail))
            self._in_flight[call.id] = call
        self.open_calls += 1
        return call

    def _answer(self, call: Call, answer: JsonObject) -> Line:
        if call.finished:
            raise AssertionError(f"{call.method} was answered twice")
        # First, so that a call whose answer can't be made (there is no memory for it) can still be refused.
        if call.batch is not None:
            size = call.batch.size
            line = call.batch.done(None if call.is_notification else answer)
            self.waiting_bytes += call.batch.size - size
        else:
            line = b"" if call.is_notification else _encode(answer)
        call.finished = True
        self.open_calls -= 1
        if call.id is not None:
            del self._in_flight[call.id]
        return line


def partial_encoder(call_id: Id, *, as_notifications: bool) -> Callable[[JsonObject], bytes]:
    """Return what makes the lines of one call's partial results: Responses with its id that are not the last.

    ``as_notifications``: ``rkllm.token`` with the id among its params.
    """
    if as_notifications:
        return lambda result: notification("rkllm.token", {"id": call_id, **result})
    begin, dumps = b'{"jsonrpc":"2.0","id":%b,"result":' % orjson.dumps(call_id), orjson.dumps
    return lambda result: begin + dumps(result) + b"}\n"


def notification(method: str, params: JsonObject) -> bytes:
    """Return the line of a notification from the server."""
    return orjson.dumps({"jsonrpc": "2.0", "method": method, "params": params}, option=orjson.OPT_APPEND_NEWLINE)


def error_line(error: RpcError, call_id: Id = None) -> bytes:
    """Return the line of an error that belongs to no request (``"id": null``), or to one that was not read."""
    return orjson.dumps(_error_answer(call_id, error), option=orjson.OPT_APPEND_NEWLINE)


def _error_answer(call_id: Id, error: RpcError) -> JsonObject:
    return {"jsonrpc": "2.0", "id": call_id, "error": error.to_json()}


def _encode(answer: JsonObject) -> Line:
    """Serialize an answer; one that can't be written becomes an InternalError rather than silence."""
    try:
        return long_strings.dumps(answer)
    except TypeError as error:
        fault = InternalError(f"The answer can't be written as JSON: {error}.")
        return orjson.dumps(_error_answer(answer["id"], fault), option=orjson.OPT_APPEND_NEWLINE)
