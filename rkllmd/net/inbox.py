"""What comes from one client: bytes and descriptors become calls. No trio, and no I/O except closing descriptors.

Lines and descriptors wait here until they are asked for (``next_calls``, ``give_descriptors``). What is not a call is
answered at once, through ``reply``: a line that is not a Request, descriptors that no message declares, another
protocol.
"""

from __future__ import annotations

import socket as stdlib_socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from rkllmd import open_files
from rkllmd.errors import FrameTooLarge, InvalidParams, InvalidRequest, ParseError, RpcError, let_frames_go
from rkllmd.wire import foreign, jsonrpc, weight
from rkllmd.wire.budget import Budget, Holding
from rkllmd.wire.descriptors import Descriptors
from rkllmd.wire.lines import LineBuffer
from rkllmd.wire.long_bytes import LongBytes
from rkllmd.wire.members import MAX_FDS

# Parsing and converting this many bytes takes about a millisecond: longer lines go to a helper thread.
_LARGE_LINE: Final = 65_536
# A line that begins with white space, which hardly any client sends, may be a batch too.
_BEGINS_BATCH: Final = b"[ \t\r\n\v\f"
# For a line that is not complete, or a batch.
_MAX_WAITING_FDS: Final = 64
FD_SIZE: Final = struct.calcsize("i")


class Inbox:
    """The lines and descriptors that have come from a client and are not handled yet."""

    def __init__(
        self,
        limit: int,
        exchange: jsonrpc.Exchange,
        reply: Callable[[jsonrpc.Line], None],
        get_log: Callable[[], FilteringBoundLogger],
        budget: Budget,
        user: int | None,
    ) -> None:
        """``limit``: the most bytes of a line; ``exchange``: the client's requests in flight.

        ``budget``: what the lines of this user take of memory.
        """
        self.lines: deque[LongBytes] = deque()
        # Nothing more is read: after end of file, or after something that can't be understood.
        self.is_over = False
        self.was_foreign = False
        self._buffer = LineBuffer(limit)
        self._exchange = exchange
        self._reply = reply
        self._get_log = get_log
        self._strangers = foreign.Strangers()
        self._is_new = True  # nothing has come yet
        # File descriptors that have come and do not belong to a call yet, and whether it is unknown to which they
        # belong.
        self._descriptors = Descriptors()
        self._descriptors_are_lost = False
        self._budget = budget
        self._user = user
        # Long lines that have come so far, and the one that was parsed.
        self._coming = Holding(budget, user)
        self._parsed: Holding | None = None
        # What the calls of long lines take until they are answered.
        self._holdings: dict[jsonrpc.Call, Holding] = {}

    # -- what arrives ------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take bytes, after the descriptors that came with them."""
        if self._is_new:
            self._is_new = False
            farewell = foreign.greeting_of(data)
            if farewell is not None:
                self._say_farewell(farewell)
                return
        self.lines.extend(self._buffer.feed(data))
        if len(self._buffer) > _LARGE_LINE or self._coming.size:
            self._count_coming()
        if self._buffer.overflowed:
            self.is_over = True

    def end(self, *, is_cut: bool) -> None:
        """Take the end of file; ``is_cut``: the daemon has caused it, so the last line may be incomplete."""
        if not is_cut:
            self.lines.extend(self._buffer.end())
        self.is_over = True

    def take_descriptors(self, ancillary: list[tuple[int, int, bytes]], flags: int) -> None:
        """Queue descriptors that have come, always before the last byte of the message that declares them."""
        came = descriptors_in(ancillary)
        for number in came:
            self._descriptors.add(number)
        if flags & stdlib_socket.MSG_CTRUNC:  # our table of descriptors was full: the buffer has room for all
            self._lose_descriptors(f"File descriptors came that could not be taken. {open_files.sentence()}")
        elif len(came) > MAX_FDS or len(self._descriptors) > _MAX_WAITING_FDS:
            self._lose_descriptors(
                f"A message may bring at most {MAX_FDS} file descriptors, and at most {_MAX_WAITING_FDS} may wait."
            )

    # -- calls -------------------------------------------------------------------------------------------------------

    def next_calls(self) -> list[jsonrpc.Call]:
        """Return the calls of the first line; what is not a call is answered."""
        line = self.lines.popleft()
        return self.calls_of(self._parse(line), line)

    def parse_next(self) -> jsonrpc.Message | list[jsonrpc.Message]:
        """Parse the first line, for ``calls_of``; called on a helper thread.

        The line's memory is freed there too, which takes over a millisecond for megabytes.
        """
        try:
            return self._parse(self.lines.popleft())
        finally:
            self._count_coming()

    def calls_of(self, message: jsonrpc.Message | list[jsonrpc.Message], line: LongBytes | None) -> list[jsonrpc.Call]:
        """Return the calls of a message; what is not a call is answered. ``line``: its text, None if it was long."""
        if self._strangers.is_inside or isinstance(message, jsonrpc.Rejected):
            seen = self._strangers.look_at(line, message)
            if isinstance(seen, foreign.Farewell):
                self._say_farewell(seen)
                return []
            message = seen
        calls, reply = self._exchange.receive(message)
        if self._parsed is not None:
            for call in calls:
                self._holdings[call] = call.holding = self._parsed.share()
            self._parsed.release()
            self._parsed = None
        if reply:
            self._reply(reply)
        elif not calls and isinstance(message, jsonrpc.Unsolicited):
            self._get_log().debug("unsolicited_response")  # at a higher level a client could fill the log
        if len(calls) != (len(message) if isinstance(message, list) else 1) and self._descriptors:
            self._lose_descriptors("File descriptors came, but a message that may have declared them can't be read.")
        return calls

    def give_descriptors(self, call: jsonrpc.Call) -> None:
        """Give a call as many of the waiting descriptors as it declares, in order. Raises InvalidParams."""
        call.members.check("fds")
        count, there = call.members.fds, len(self._descriptors)
        if count > there:
            raise InvalidParams(
                f"The request declares {count} file descriptors, but {there} came with it.",
                member="fds",
                keyword="maximum",
                limit=there,
            )
        if count:
            call.fds = self._descriptors.take(count)

    # -- what goes wrong ---------------------------------------------------------------------------------------------

    def check_descriptors(self) -> None:
        """Refuse descriptors that no line has declared; those of a line that is still coming may wait for it."""
        if self._descriptors and not self.lines and not len(self._buffer):
            self._lose_descriptors("File descriptors came that no message declares in its member fds.")

    def check_length(self) -> None:
        """Report a line that was too long, if there was one; called after the lines before it were handled."""
        if self._buffer.overflowed:
            limit = self._buffer.limit
            self._get_log().warning("frame_too_large", limit=limit)
            self._reply(jsonrpc.error_line(FrameTooLarge(f"A line may have at most {limit} bytes.", limit=limit)))

    def let_go(self, call: jsonrpc.Call) -> None:
        """Hold what a call takes no more, since it is answered."""
        holding = self._holdings.pop(call, None)
        if holding is not None:
            holding.release()

    def close(self) -> None:
        """Close the descriptors that belong to no call, and let go of what has come."""
        self._descriptors.close()
        self.lines.clear()
        self._buffer.skip()
        self._coming.release()
        if self._parsed is not None:
            self._parsed.release()
        for call in list(self._holdings):
            self.let_go(call)

    # -- how much it is ----------------------------------------------------------------------------------------------

    def _parse(self, line: LongBytes) -> jsonrpc.Message | list[jsonrpc.Message]:
        """Parse a line, if it is not too much. What a long one takes is held from now on."""
        if len(line) < weight.UNWEIGHED:
            if weight.is_too_deep(line):
                return jsonrpc.Rejected(weight.id_of(line), weight.too_deep())
            return jsonrpc.parse(line)
        holding = Holding(self._budget, self._user)
        try:
            taken = weight.weigh(line, self._budget.bounds.most_values)
            holding.change(taken.parsing)
        except RpcError as error:
            let_frames_go(error)  # they hold the line, and those of the helper thread the error
            return jsonrpc.Rejected(None if isinstance(error, ParseError) else weight.id_of(line), error)
        message = jsonrpc.parse(line)
        holding.change(taken.kept)
        self._parsed = holding
        return message

    def _count_coming(self) -> None:
        """Hold what has come of long lines; refuse the one that is coming if there is no room for it."""
        complete = sum(len(line) for line in self.lines if is_large(line))
        coming = len(self._buffer) if len(self._buffer) > _LARGE_LINE else 0
        try:
            self._coming.change(complete + coming, always=not coming)
        except RpcError as error:
            self._get_log().warning("line_refused", kind=error.kind, **error.data)
            self._reply(jsonrpc.error_line(error, weight.id_of(self._buffer.skip())))
            self._coming.change(complete, always=True)

    def _say_farewell(self, farewell: foreign.Farewell) -> None:
        """Tell a client that speaks another protocol what is spoken here; nothing that it sends is a request."""
        if not self.was_foreign:
            self.was_foreign = self.is_over = True
            self.lines.clear()
            self._get_log().info("foreign_protocol", protocol=farewell.protocol)
            self._reply(farewell.reply)

    def _lose_descriptors(self, why: str) -> None:
        """Accept no more descriptors and messages, since it is unknown which belong together."""
        self._descriptors.close()
        if not self._descriptors_are_lost:
            self._descriptors_are_lost = self.is_over = True
            self._get_log().warning("file_descriptors_lost", reason=why)
            self._reply(jsonrpc.error_line(InvalidRequest(f"{why} The connection is closed.", limit=MAX_FDS)))


def descriptors_in(ancillary: list[tuple[int, int, bytes]]) -> Descriptors:
    """Return the descriptors that have come beside some bytes."""
    found = Descriptors()
    for level, kind, data in ancillary:
        if (level, kind) == (stdlib_socket.SOL_SOCKET, stdlib_socket.SCM_RIGHTS):
            for (fd,) in struct.iter_unpack("i", data[: len(data) - len(data) % FD_SIZE]):
                found.add(fd)
    return found


def is_large(line: LongBytes) -> bool:
    """Return whether a line has to be parsed on a helper thread."""
    return len(line) > _LARGE_LINE


def takes_long(line: LongBytes) -> bool:
    """Return whether a line may take longer than a slice: if it is long, or may be a batch."""
    return len(line) > _LARGE_LINE or line[0] in _BEGINS_BATCH
