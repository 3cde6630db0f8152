"""``rkllmd gateway``: HTTP for people's clients, as another client of the daemon's socket."""

from __future__ import annotations

import argparse
from pathlib import Path

_EXTRA = "the gateway needs packages that are not installed: pip install 'rkllmd[gateway]' (missing is {})."


class GatewayError(Exception):
    """The gateway can't be started; the message is one sentence that says what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command, but for those that say which daemon."""
    parser.add_argument(
        "--listen",
        action="append",
        metavar="HOST:PORT",
        help="where to listen; may be given several times (default: 127.0.0.1:8080)",
    )
    parser.add_argument(
        "--api-keys", type=Path, metavar="FILE", help="who may come: on each line the SHA-256 of a key (sha256sum)"
    )
    parser.add_argument(
        "--allow-anybody", action="store_true", help="listen beyond this machine without API keys: all may come"
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        metavar="ORIGIN",
        help="let pages of this origin (https://chat.example.org) ask from a browser; may be given several times",
    )


def run(given: argparse.Namespace) -> int:
    """Serve until a signal comes; return the exit status. Raises GatewayError."""
    from rkllmd.gateway.access import Access, is_loopback  # no other command, the daemon least, has to load it

    addresses = given.listen or ["127.0.0.1:8080"]
    for address in addresses:
        _check_address(address)
        if not (is_loopback(address) or given.api_keys or given.allow_anybody):
            raise GatewayError(
                f"{address} can be reached from other machines: name a file of keys with --api-keys, or say "
                "--allow-anybody."
            )
    access = Access(_keys(given.api_keys), frozenset(given.allow_origin or ()))
    try:
        from rkllmd.gateway.web import answers, serving
    except ModuleNotFoundError as error:
        raise GatewayError(_EXTRA.format(error.name)) from None
    try:
        serving.run(answers.Upstream(given.socket, given.requirepeer), access, addresses)
    except OSError as error:
        raise GatewayError(f"{' '.join(addresses)} can't be listened to: {error.strerror or error}.") from None
    return 0


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise GatewayError(f"--listen {address} is not HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080.")


def _keys(path: Path | None) -> frozenset[str]:
    from rkllmd.gateway.access import KeysError, read_keys

    if path is None:
        return frozenset()
    try:
        return read_keys(path.read_text())
    except (OSError, ValueError) as error:
        raise GatewayError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}.") from None
    except KeysError as error:
        raise GatewayError(f"{path} is no file of keys: {error}") from None
