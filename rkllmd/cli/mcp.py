"""``rkllmd mcp``: tools and resources for MCP hosts, as another client of the daemon's socket."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rkllmd.cli import http
from rkllmd.cli.http import HttpError
from rkllmd.portable import demo

if TYPE_CHECKING:
    from rkllmd.gateway.mcp.tools import Classifier


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command, but for those that say which daemon."""
    parser.add_argument(
        "--classifier",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="an RKNN model that tells what is in a picture, for the tool classify; the names of its classes are the "
        f"lines of the file beside it that ends in .txt. {demo.NAME}: reads digits. May be given several times",
    )
    http.add_arguments(
        parser, "serve hosts over HTTP there, at /mcp; may be given several times (default: one host, over stdio)"
    )


def run(given: argparse.Namespace) -> int:
    """Serve until the host has gone, or a signal comes; return the exit status. Raises HttpError."""
    classifiers = dict(_classifier(item) for item in given.classifier)
    addresses = given.listen or []
    access, tls = http.access(given, addresses), http.tls(given)
    try:
        from rkllmd.gateway.mcp import over_stdio, server
        from rkllmd.gateway.upstream.upstream import Upstream

        host = server.serve(Upstream(given.socket, given.requirepeer), _read(classifiers))
        if not addresses:
            over_stdio.serve(host)
            return 0
        from rkllmd.gateway.mcp import over_http  # with all of the gateway
        from rkllmd.gateway.web.serving import Listening
    except ModuleNotFoundError as error:
        raise http.missing(error, "mcp", *(["gateway"] if addresses else [])) from None
    try:
        over_http.serve(
            host,
            access,
            Listening(addresses, (), tls, renew=http.renewal(given, access), has_access_log=given.access_log),
        )
    except OSError as error:
        raise http.taken(addresses, error) from None
    return 0


def _classifier(given: str) -> tuple[str, Path]:
    name, is_named, path = given.partition("=")
    if given == demo.NAME:
        return given, demo.CLASSIFIER
    if not is_named or not name or not path:
        raise HttpError(f"--classifier {given} is not NAME=FILE, as in digits=/models/digits.rknn.")
    return name, Path(os.path.abspath(path))


def _read(classifiers: dict[str, Path]) -> dict[str, Classifier]:
    from rkllmd.gateway.mcp.tools import Classifier

    found = {}
    for name, path in classifiers.items():
        labels = path.with_suffix(".txt")
        try:
            lines = labels.read_text().splitlines() if labels.exists() else []
        except (OSError, ValueError) as error:
            raise HttpError(f"{labels} can't be read: {getattr(error, 'strerror', None) or error}.") from None
        found[name] = Classifier(str(path), tuple(lines))
    return found
