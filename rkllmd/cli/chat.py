"""``rkllmd chat``: a conversation on the terminal. Ctrl-C ends the answer, Ctrl-D ends the program."""

from __future__ import annotations

import re
import signal
import sys
from types import FrameType
from typing import Self

from rkllmd.cli.terminal import shown
from rkllmd.client import CallError, Client, ConnectionLost, RequestMembers
from rkllmd.json_types import JsonObject

_HELP = "Ctrl-C stops an answer, /new forgets the conversation, Ctrl-D leaves."
_COMMAND = re.compile("/[a-z?]+")
_NO_MODEL = (
    """no model is loaded: load one with rkllmd call rkllm.init '{"model_path": "/path/to/model.rkllm"}', """
    "or start the daemon with --model."
)
_LOADING = (
    "the model is still being loaded: try again in a moment ('rkllmd call server.status' shows when it is loaded)."
)


class NoModelError(Exception):
    """There is no model to talk with; the message is one sentence that says what to do."""


class NotTextError(Exception):
    """The input is not text; the message is one sentence that says what to do."""


def chat(connection: Client, *, thinking: bool, session: str | None = None, handle: int | None = None) -> int:
    """Talk with the loaded model until the end of input; return the exit status.

    ``handle`` chooses one of several models. With a ``session`` the conversation of that name goes on, now and the next
    time. On a terminal an error is shown and the conversation goes on; otherwise the error ends it. Raises
    NoModelError, NotTextError, ClientError.
    """
    name, model = _model(connection, handle)
    on_terminal = sys.stdin.isatty()
    if on_terminal:
        import readline  # noqa: F401 - gives input() its line editing and history

        print(f"Talking with {shown(name, sys.stdout)}. {_HELP}")
    has_history = False
    members: RequestMembers = {} if session is None else {"session": session}
    while (line := _read("> " if on_terminal else "")) is not None:
        try:
            _check_text(line)
            if line.strip() == "/new":
                _forget(connection, model, session)
                has_history = False
            elif on_terminal and _COMMAND.fullmatch(line.strip()):
                print(f"[{_HELP}]")
            elif line.strip():
                params = {**model, "prompt_input": line, "enable_thinking": thinking}
                _answer(connection, params, members, has_history=has_history)
                has_history = True
        except (CallError, NotTextError) as error:
            if not on_terminal:
                raise
            print(f"[{shown(str(error), sys.stdout)}]")
        except ConnectionLost:
            if not on_terminal:
                raise
            print(f"[The daemon has gone{'' if session else ', and the conversation with it'}: say it again.]")
            has_history = False
            connection.reconnect()
    return 0


def _check_text(line: str) -> None:
    """Raise NotTextError for bytes that are not valid in the encoding of standard input: JSON can't carry them."""
    try:
        line.encode()
    except UnicodeEncodeError as error:
        byte = ord(line[error.start]) - 0xDC00  # as surrogateescape keeps it
        raise NotTextError(
            f"this line has a byte that is not {sys.stdin.encoding.upper()}, 0x{byte:02x} after "
            f"{line[: error.start][-40:]!r}: convert the text first, for example with iconv -f latin1 -t utf-8."
        ) from None


def _model(connection: Client, handle: int | None) -> tuple[str, dict[str, int]]:
    """Return the model's name for people, and the parameter that chooses it if it needs one. Raises NoModelError."""
    status = connection.call("server.status")
    models = status["models"]
    if not models:
        raise NoModelError(_LOADING if status["state"] == "loading" else _NO_MODEL)
    names = {model["handle"]: model["model_path"].rsplit("/", 1)[-1] for model in models}
    chosen = next(iter(names)) if handle is None else handle
    if chosen not in names:
        listed = ", ".join(f"{number} ({name})" for number, name in names.items())
        raise NoModelError(f"there is no model with handle {chosen}; there is {listed}.")
    if len(names) == 1:
        return names[chosen], {}
    others = ", ".join(f"{number} is {name}" for number, name in names.items() if number != chosen)
    return f"{names[chosen]} (--handle {chosen}; {others})", {"handle": chosen}


def _read(prompt: str) -> str | None:
    """Return a line, or None at the end of input; Ctrl-C at the prompt only gives a new prompt."""
    while True:
        try:
            return input(prompt)
        except KeyboardInterrupt:
            if not prompt:
                raise
            print()
        except EOFError:
            if prompt:
                print()
            return None


class _Interruption:
    """Ctrl-C while an answer comes: the first one cancels the answer, the second one ends the program.

    It is a signal handler, since an exception could come in the middle of a message and lose it.
    """

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        self._call_id: int | None = None
        self._wanted = False
        self._cancel_id: int | None = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def watch(self, call_id: int) -> None:
        """Cancel this call from now on."""
        self._call_id = call_id
        if self._wanted:
            self._cancel(call_id)

    def finish(self) -> None:
        """Read the answer to the cancellation, which nothing else waits for."""
        if self._cancel_id is not None:
            self._connection.receive(self._cancel_id)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._wanted:
            raise KeyboardInterrupt
        self._wanted = True
        if self._call_id is not None:
            self._cancel(self._call_id)

    def _cancel(self, call_id: int) -> None:
        # The run is answered nevertheless: with what was generated so far, and finish_reason "abort".
        self._cancel_id = self._connection.send("server.cancel", {"id": call_id})


def _forget(connection: Client, handle: dict[str, int], session: str | None) -> None:
    if session is None:
        connection.call("rkllm.clear_kv_cache", {**handle, "keep_system_prompt": 1})
    else:
        connection.call("server.drop_session", {"name": session})


def _answer(connection: Client, params: JsonObject, members: RequestMembers, *, has_history: bool) -> None:
    """Show the answer as it comes. Raises CallError."""
    ended = False
    with _Interruption(connection) as interruption:
        try:
            call_id = connection.send("rkllm.run_async", {"role": "user", "keep_history": 1, **params}, **members)
            interruption.watch(call_id)
            for result in connection.results(call_id):
                sys.stdout.write(shown(result["text"], sys.stdout))
                ended = _note_end(result, has_history=has_history)
                sys.stdout.flush()
            interruption.finish()
        finally:
            if not ended:  # what is printed next must not follow the answer in its line
                print(flush=True)


def _note_end(result: JsonObject, *, has_history: bool) -> bool:
    """After the last message, end the answer's line with notes on it; return whether this was the last message."""
    if result["_callback_state"] != 2:
        return False
    notes = [] if result["finish_reason"] == "stop" else [_REASONS[result["finish_reason"]]]
    if has_history and result.get("history_reset"):  # otherwise only another client's history was cleared
        notes.append("another client has used the model meanwhile: it has forgotten what was said before")
    print(f" [{'; '.join(notes)}]" if notes else "")
    return True


_REASONS = {
    "abort": "stopped",
    "length": "cut: the model's max_new_tokens is reached",
    "pause": "paused",
}
