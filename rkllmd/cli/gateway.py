"""``rkllmd gateway``: HTTP for people's clients, as another client of the daemon's socket."""

from __future__ import annotations

import argparse
from typing import Final

from rkllmd.cli import http

# As long as a balancer waits for an answer; the unit's TimeoutStopSec is longer.
_MOST_GRACE: Final = 600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command, but for those that say which daemon."""
    http.add_arguments(parser, "where to listen; may be given several times (default: 127.0.0.1:8080)")
    parser.add_argument(
        "--agent-check",
        action="append",
        metavar="HOST:PORT",
        help="where HAProxy's agent checks are told how busy and how hot this board is; may be given several times",
    )
    parser.add_argument(
        "--grace",
        type=_seconds,
        default=5,
        metavar="SECONDS",
        help=f"how long running answers may go on when it is asked to end, {_MOST_GRACE} at most (default: 5)",
    )
    parser.add_argument(
        "--fetch-pictures",
        choices=("public", "any"),
        help="fetch pictures that requests name by http(s) addresses: of the internet at large, or of any host, which "
        "lets clients reach what only this machine does (default: none is fetched)",
    )


def run(given: argparse.Namespace) -> int:
    """Serve until a signal comes; return the exit status. Raises HttpError."""
    addresses, agent_checks = given.listen or ["127.0.0.1:8080"], given.agent_check or []
    for address in agent_checks:
        http.check_address("agent-check", address)
    access, tls = http.access(given, addresses), http.tls(given)
    try:
        from rkllmd.gateway.pictures.fetching import Reach
        from rkllmd.gateway.pictures.showing import Pictures
        from rkllmd.gateway.upstream.upstream import Upstream
        from rkllmd.gateway.web import serving
        from rkllmd.machine.memory import heap
    except ModuleNotFoundError as error:
        raise http.missing(error, "gateway") from None
    pictures = Pictures(Reach(given.fetch_pictures) if given.fetch_pictures else None)
    listening = serving.Listening(
        addresses, agent_checks, tls, given.grace, http.renewal(given, access), given.access_log
    )
    heap.return_large_blocks()
    try:
        serving.run(Upstream(given.socket, given.requirepeer, pictures), access, listening)
    except OSError as error:
        raise http.taken([*addresses, *agent_checks], error) from None
    return 0


def _seconds(given: str) -> int:
    """Return a number of seconds. Raises ArgumentTypeError, to which argparse adds which option it was."""
    try:
        seconds = int(given)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= _MOST_GRACE:
        raise argparse.ArgumentTypeError(f"{given} is not a whole number from 0 to {_MOST_GRACE}")
    return seconds
