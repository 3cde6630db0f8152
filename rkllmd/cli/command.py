"""The command line: serve, stop, call, chat, gateway, mcp. An error is one plain sentence that says what to do."""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, NoReturn

import orjson

from rkllmd import __version__, client
from rkllmd.cli import gateway, mcp, terminal
from rkllmd.cli.http import HttpError
from rkllmd.json_types import Json, JsonObject
from rkllmd.keeper.ties import CANNOT_START
from rkllmd.portable import demo

if TYPE_CHECKING:
    from rkllmd.machine.keeper_link import KeeperLink

_SERVE: Final = "serve"
_SOCKET_HELP: Final = f"path of the daemon's socket (environment: RKLLM_UDS_PATH; default: {client.DEFAULT_SOCKET})"


def run(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` name; return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The terminal may lack characters, and a file's name may not be valid UTF-8.
        sys.stdout.reconfigure(errors="replace")
    parser = parser_and_commands(serves=_SERVE in arguments)[0]
    given = parser.parse_args(arguments)
    try:
        if given.version:
            status = _version()
        elif given.command is None:
            parser.print_help()
            status = 2
        else:
            status = int(given.run(given))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone, as with | head
        with contextlib.suppress(OSError):  # closed here, since what is left would fail again at the exit
            sys.stdout.close()
        return 1
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as a shell says it
    except HttpError as error:
        sys.stderr.write(f"rkllmd: {error}\n")
        return error.status
    except (_UsageError, client.CallError, client.ConnectionLost, client.ConnectError) as error:
        sys.stderr.write(f"rkllmd: {terminal.shown(_explain(error), sys.stderr)}\n")
        return 1
    return status


class _UsageError(Exception):
    """The command can't be carried out; the message is one sentence that says what to do."""


def _explain(error: Exception) -> str:
    """Return the sentence for a person, followed by the runtime's own lines if they say more."""
    if isinstance(error, client.ConnectError):  # there was a daemon before
        return client.why_no_connection(error, "with --socket")
    if not isinstance(error, client.CallError):
        return str(error)
    path, fix, log = (error.data.get(name) for name in ("path", "fix", "log"))
    sentence = str(error)
    if path and path.removeprefix("$.") not in sentence:
        sentence += f" (at {path})"
    if fix and fix not in sentence:
        sentence += f" {fix}"
    if path and path.removeprefix("$.") in _BESIDE:  # the user has put it among the parameters
        sentence += f" On the command line it is --{path.removeprefix('$.').replace('_', '-')}."
    lines = [f"    {line}" for line in log or [] if line not in sentence]
    for name, meaning in (("restored", "loaded again, with empty KV caches"), ("lost", "lost, and could not be")):
        if handles := error.data.get(name):
            lines.append(f"    {meaning}: {', '.join(map(str, handles))}")
    return "\n".join([f"{sentence} [{error.kind or error.code}]", *lines])


class _Parser(argparse.ArgumentParser):
    """A parser that says in one sentence what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"rkllmd: {message}; see {self.prog} --help.\n")


# Longer lines are hard to read.
_WIDEST: Final = 110
# Members that stand beside "method" in a request.
_BESIDE: Final = (
    "stream",
    "session",
    "priority",
    "timeout_ms",
    "first_token_timeout_ms",
    "run_timeout_ms",
    "wait_timeout_ms",
)


def parser_and_commands(*, serves: bool = True) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the parser of the command line, and that of each command by its name.

    Without ``serves``, that of the command serve has no options: no other command has to know all settings.
    """
    description = "Serves a Rockchip NPU as JSON-RPC 2.0 over a Unix socket."
    parser = _Parser(prog="rkllmd", description=description, allow_abbrev=False)
    parser.add_argument("--version", action="store_true", help="print the version and the runtime that was found")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="{serve,stop,call,chat,gateway,mcp,help}"
    )
    # An abbreviation that works today is ambiguous once there is another option that begins so.
    add = partial(commands.add_parser, allow_abbrev=False)

    serve = add(_SERVE, help="run the daemon")
    if serves:
        _add_settings(serve)
    serve.set_defaults(run=_serve)

    stop = add("stop", help="stop the daemon, and wait until it has ended")
    stop.add_argument("--socket", help=_SOCKET_HELP)
    stop.set_defaults(run=_stop)

    call = add("call", help="call one method and print what it answers")
    call.add_argument("method", help="for example rkllm.run, server.status, rpc.discover")
    call.add_argument(
        "params", nargs="?", help="the parameters as JSON: an array or an object; - reads them from stdin"
    )
    call.add_argument("--stream", choices=("partial", "final"), help="the shape of a run's answer: by token, or whole")
    call.add_argument("--session", help="a name: the run goes on with the conversation of this name")
    call.add_argument("--priority", choices=("high", "normal", "low"), help="whose turn comes first")
    call.add_argument("--timeout-ms", type=int, help="how long the call may run without progress")
    call.add_argument("--first-token-timeout-ms", type=int, help="how long a run may take for its first token")
    call.add_argument("--run-timeout-ms", type=int, help="how long the call may run in all")
    call.add_argument("--wait-timeout-ms", type=int, help="how long the call may wait for its turn")
    _add_connection(call)
    call.set_defaults(run=_call)

    chat = add("chat", help="talk with the loaded model")
    chat.add_argument("--thinking", action="store_true", help="let the model think before it answers, if it can")
    chat.add_argument("--session", help="a name: go on with this conversation, whoever uses the model meanwhile")
    chat.add_argument("--handle", type=int, help="of the model, where several are loaded (default: the first)")
    _add_connection(chat)
    chat.set_defaults(run=_chat)
    _add_server(add("gateway", help="serve HTTP: to OpenAI's, Ollama's and Anthropic's clients, and browsers"), gateway)
    _add_server(add("mcp", help="serve tools and resources to MCP hosts, over stdio or HTTP"), mcp)

    help_ = add("help", help="describe a method, with an example: rkllmd help rkllm.run", allow_abbrev=False)
    help_.add_argument("method", nargs="?", help="a method, a namespace (rkllm, rknn, server), or a command")
    help_.add_argument("--socket", help=f"{_SOCKET_HELP}; without a daemon the program itself is asked")
    help_.set_defaults(run=_help)
    return parser, dict(commands.choices)


def _add_settings(serve: argparse.ArgumentParser) -> None:
    """Add the options of the daemon."""
    from rkllmd.config import settings, sources

    serve.add_argument("--config", type=Path, help=f"configuration file (default: {sources.DEFAULT_FILE} if it exists)")
    defaults = settings.Config()
    for item in settings.settable_outside():
        serve.add_argument(
            f"--{item.name.replace('_', '-')}",
            dest=item.name,
            metavar="VALUE",
            help=f"{item.metadata['help']} (environment: {settings.environment_name(item.name)}; "
            f"default: {_shown(getattr(defaults, item.name))})".replace("%", "%%"),
        )
    serve.add_argument(
        "--no-keeper", action="store_true", help="run it alone: nobody starts it again when a runtime crashes it"
    )


def _add_server(parser: argparse.ArgumentParser, command: ModuleType) -> None:
    """Add the options of a command that serves others, and is a client of the daemon."""
    command.add_arguments(parser)
    _add_connection(parser)
    parser.set_defaults(run=command.run)


def _add_connection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", help=_SOCKET_HELP)
    parser.add_argument(
        "--requirepeer",
        metavar="USER",
        help="who has to serve the socket (environment: RKLLM_REQUIREPEER; default: root, rkllm or you; '': anybody)",
    )


def _shown(default: object) -> str:
    if isinstance(default, dict):
        return ":".join(f"{name}={value}" for name, value in default.items())
    return ":".join(default) if isinstance(default, tuple) else str(default) or "none"


def _version() -> int:
    from rkllmd.config import sources
    from rkllmd.config.values import ConfigError
    from rkllmd.language import runtime  # these import the whole daemon
    from rkllmd.vision import runtime as rknn_runtime

    print(f"rkllmd {__version__}", flush=True)
    try:
        in_force = sources.load(os.environ, {})
    except ConfigError as error:
        raise _UsageError(str(error)) from None
    print(f"runtime: {runtime.describe_library(in_force)}")
    print(f"RKNN runtime: {rknn_runtime.describe_library(in_force)}")
    return 0


def _serve(given: argparse.Namespace) -> int:
    # What a start makes stays: to look for garbage in it takes a tenth of the start. The daemon turns it on again.
    gc.disable()
    from rkllmd.config.values import ConfigError
    from rkllmd.machine import keeper_link  # trio and the rest are needed by no other command

    keeper = keeper_link.find(os.environ)
    try:
        return _serve_with(given, keeper)
    except (_UsageError, ConfigError) as error:
        sys.stderr.write(f"rkllmd: {error}\n")
        return CANNOT_START


def _serve_with(given: argparse.Namespace, keeper: KeeperLink | None) -> int:
    from rkllmd import daemon
    from rkllmd.config import settings, sources
    from rkllmd.net.listening import listener

    flags = {item.name: getattr(given, item.name) for item in settings.settable_outside()}
    names = [demo.NAME, *(model.name for model in sources.load(os.environ, {}, given.config).models)]
    for name in ("model", "rkllm_library", "rknn_library"):
        # Paths on the command line are relative to the directory in which the command was given.
        if flags[name] and not (name == "model" and flags[name] in names):
            try:
                flags[name] = os.path.abspath(flags[name])
            except FileNotFoundError:
                raise _UsageError(
                    f"the current folder has been removed: name {flags[name]} by its whole path."
                ) from None
    in_force = sources.load(os.environ, flags, given.config)
    try:
        return daemon.serve(in_force, flags, given.config, keeper)
    except listener.ListenError as error:
        raise _UsageError(str(error)) from None


def _stop(given: argparse.Namespace) -> int:
    from rkllmd.net.listening import serving  # no other command needs it

    try:
        print(serving.stop(given.socket or client.default_socket()))
    except serving.StopError as error:
        raise _UsageError(str(error)) from None
    return 0


def _connect(given: argparse.Namespace) -> client.Client:
    try:
        return client.Client(given.socket, requirepeer=given.requirepeer)
    except (OSError, ValueError) as error:
        raise _UsageError(client.why_no_connection(error, "with --socket")) from None


def _call(given: argparse.Namespace) -> int:
    params = None
    if given.params is not None:
        text = sys.stdin.buffer.read() if given.params == "-" else given.params
        try:
            params = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            example = """; they look like '{"prompt": "Hello"}'""" if given.params != "-" else ""
            raise _UsageError(f"the parameters are not valid JSON: {error}{example}.") from None
    members = {name: value for name in _BESIDE if (value := getattr(given, name)) is not None}
    with _connect(given) as connection:
        try:
            for result in connection.stream(given.method, params, **members):
                _print_json(result)
        except orjson.JSONEncodeError as error:  # a method's name that is not Unicode, parameters nested too deeply
            raise _UsageError(f"this can't be sent as JSON: {error}.") from None
        if given.method == "server.watch" and result["watching"]:
            for event in connection.events(*result["watching"]):
                _print_json(event)
    return 0


def _print_json(value: Json) -> None:
    """Print a value as a line of JSON; on a terminal, in the form for people."""
    if sys.stdout.isatty():
        terminal.write(value, os.environ)
        return
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def _help(given: argparse.Namespace) -> int:
    parser, commands = parser_and_commands()
    if given.method is None:
        parser.print_help()
    elif given.method in commands:
        commands[given.method].print_help()
    else:
        _help_on_method(given.method, given.socket)
    return 0


def _help_on_method(name: str, socket: str | None) -> None:
    from rkllmd.cli import method_help  # no other command needs it

    document, defaults = _described(socket)
    if overview := method_help.overview(document, name):
        print(f"{overview}\n\nrkllmd help METHOD says more, rkllmd call METHOD calls it.")
        return
    try:
        method = method_help.find(document, name)
    except method_help.NoSuchMethodError as error:
        raise _UsageError(str(error)) from None
    print(method_help.describe(method, defaults, min(shutil.get_terminal_size().columns, _WIDEST)))


def _described(socket: str | None) -> tuple[JsonObject, JsonObject]:
    """Return the OpenRPC document and the runtime's defaults, from the daemon or else from this program itself."""
    try:
        with client.Client(socket) as daemon:
            document = daemon.call("rpc.discover")
            try:
                return document, daemon.call("rkllm.createDefaultParam")
            except client.CallError:  # it has no runtime
                return document, {}
    except (OSError, ValueError, client.CallError, client.ConnectionLost):
        from rkllmd.calls import discovery, registry  # these import the whole daemon

        return discovery.openrpc(registry.discover()), {}


def _chat(given: argparse.Namespace) -> int:
    from rkllmd.cli.chat import NoModelError, NotTextError, chat

    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # so that a wrong byte spoils one line, not the whole input
    with _connect(given) as connection:
        try:
            return chat(connection, thinking=given.thinking, session=given.session, handle=given.handle)
        except (NoModelError, NotTextError) as error:
            raise _UsageError(str(error)) from None
        except orjson.JSONEncodeError as error:  # a session's name
            raise _UsageError(f"this can't be sent as JSON: {error}.") from None
