"""The command line: serve, call, chat. An error is one plain sentence with the fix."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson

from rkllmd import __version__, client, config


def run(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` name; return the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.version:
        return _version()
    if given.command is None:
        parser.print_help()
        return 2
    try:
        return int(given.run(given))
    except _USER_ERRORS as error:
        print(f"rkllmd: {_explain(error, given)}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has left: | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


class _UsageError(Exception):
    """The command line can't be used as it is."""


_USER_ERRORS = (
    _UsageError,
    config.ConfigError,
    client.CallError,
    client.ConnectionLost,
    ConnectionError,
    FileNotFoundError,
    PermissionError,
)


def _explain(error: Exception, given: argparse.Namespace) -> str:
    path = getattr(given, "socket", None) or client.default_socket()
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return f"no daemon serves {path}: start one with 'rkllmd serve', or name its socket with --socket."
    if isinstance(error, PermissionError):
        return f"you may not connect to {path}: ask to be made a member of the group that owns it (ls -l {path})."
    if isinstance(error, client.CallError):
        place = f" (at {error.data['path']})" if "path" in error.data else ""
        return f"{error}{place} [{error.kind or error.code}]"
    return str(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rkllmd", description="Serves a Rockchip NPU as JSON-RPC 2.0 over a Unix socket."
    )
    parser.add_argument("--version", action="store_true", help="print the version and the runtime that was found")
    commands = parser.add_subparsers(dest="command", metavar="{serve,call,chat}")

    serve = commands.add_parser("serve", help="run the daemon")
    serve.add_argument("--config", type=Path, help=f"configuration file (default: {config.DEFAULT_FILE} if it exists)")
    for item in fields(config.Config):
        serve.add_argument(
            f"--{item.name.replace('_', '-')}",
            dest=item.name,
            metavar="VALUE",
            help=f"{item.metadata['help']} (environment: {config.environment_name(item.name)}; "
            f"default: {_shown(item.default)})".replace("%", "%%"),
        )
    serve.set_defaults(run=_serve)

    call = commands.add_parser("call", help="call one method and print what it answers")
    call.add_argument("method", help="for example rkllm.run, server.status, rpc.discover")
    call.add_argument(
        "params", nargs="?", help="the parameters as JSON: an array or an object; - reads them from stdin"
    )
    call.add_argument("--stream", choices=("partial", "final", "notify"), help="the shape of a run's answer")
    call.add_argument("--socket", help="path of the daemon's socket")
    call.set_defaults(run=_call)

    chat = commands.add_parser("chat", help="talk with the loaded model")
    chat.add_argument("--thinking", action="store_true", help="let the model think before it answers, if it can")
    chat.add_argument("--socket", help="path of the daemon's socket")
    chat.set_defaults(run=_chat)
    return parser


def _shown(default: Any) -> str:
    return ":".join(default) if isinstance(default, tuple) else str(default) or "none"


def _version() -> int:
    from rkllmd.runtime import describe_library  # imports the whole daemon

    try:
        settings = config.load(os.environ, {})
    except config.ConfigError as error:
        print(f"rkllmd {__version__}\nconfiguration: {error}")
        return 1
    print(f"rkllmd {__version__}\nruntime: {describe_library(settings)}")
    return 0


def _serve(given: argparse.Namespace) -> int:
    from rkllmd import daemon, listener  # trio and the rest are needed by no other command

    flags = {item.name: getattr(given, item.name) for item in fields(config.Config)}
    settings = config.load(os.environ, flags, given.config)
    try:
        return daemon.serve(settings, flags, given.config)
    except listener.ListenError as error:
        raise _UsageError(str(error)) from None


def _call(given: argparse.Namespace) -> int:
    params = None
    if given.params is not None:
        text = sys.stdin.read() if given.params == "-" else given.params
        try:
            params = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise _UsageError(f"the parameters are not valid JSON: {error}.") from None
    members = {"stream": given.stream} if given.stream else {}
    style = orjson.OPT_INDENT_2 if sys.stdout.isatty() else 0
    with client.Client(given.socket) as connection:
        for result in connection.stream(given.method, params, **members):
            sys.stdout.write(orjson.dumps(result, option=style).decode() + "\n")
            sys.stdout.flush()
    return 0


def _chat(given: argparse.Namespace) -> int:
    from rkllmd.chat import chat

    with client.Client(given.socket) as connection:
        return chat(connection, thinking=given.thinking)
