"""``rkllmd gateway``: HTTP for people's clients, as another client of the daemon's socket."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkllmd.gateway.boards.encryption import Tls

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
    parser.add_argument("--tls-certificate", type=Path, metavar="FILE", help="speak HTTPS: the certificate (PEM)")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key (default: in the same file)")
    parser.add_argument(
        "--tls-clients",
        type=Path,
        metavar="FILE",
        help="who may come: those with a certificate of this authority (PEM)",
    )
    parser.add_argument(
        "--agent-check",
        action="append",
        metavar="HOST:PORT",
        help="where HAProxy's agent checks are told how busy and how hot this board is; may be given several times",
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        metavar="ORIGIN",
        help="let pages of this origin (https://chat.example.org) ask from a browser; may be given several times",
    )
    parser.add_argument(
        "--fetch-pictures",
        choices=("public", "any"),
        help="fetch pictures that requests name by http(s) addresses: of the internet at large, or of any host, which "
        "lets clients reach what only this machine does (default: none is fetched)",
    )


def run(given: argparse.Namespace) -> int:
    """Serve until a signal comes; return the exit status. Raises GatewayError."""
    from rkllmd.gateway.access import Access, is_loopback  # no other command, the daemon least, has to load it

    addresses, agent_checks = given.listen or ["127.0.0.1:8080"], given.agent_check or []
    for option, those in (("listen", addresses), ("agent-check", agent_checks)):
        for address in those:
            _check_address(option, address)
    for address in addresses:
        if not (is_loopback(address) or given.api_keys or given.tls_clients or given.allow_anybody):
            raise GatewayError(
                f"{address} can be reached from other machines: name a file of keys with --api-keys, or say "
                "--allow-anybody."
            )
    tls = _tls(given)
    access = Access(
        _keys(given.api_keys), frozenset(given.allow_origin or ()), has_certificates=bool(given.tls_clients)
    )
    try:
        from rkllmd.gateway.pictures.fetching import Reach
        from rkllmd.gateway.pictures.showing import Pictures
        from rkllmd.gateway.upstream.upstream import Upstream
        from rkllmd.gateway.web import serving
    except ModuleNotFoundError as error:
        raise GatewayError(_EXTRA.format(error.name)) from None
    pictures = Pictures(Reach(given.fetch_pictures) if given.fetch_pictures else None)
    listening = serving.Listening(addresses, agent_checks, tls)
    try:
        serving.run(Upstream(given.socket, given.requirepeer, pictures), access, listening)
    except OSError as error:
        where = " ".join([*addresses, *agent_checks])
        raise GatewayError(f"{where} can't be listened to: {error.strerror or error}.") from None
    return 0


def _check_address(option: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise GatewayError(f"--{option} {address} is not HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080.")


def _tls(given: argparse.Namespace) -> Tls | None:
    from rkllmd.gateway.boards.encryption import Tls, TlsError

    if given.tls_certificate is None:
        if given.tls_key or given.tls_clients:
            raise GatewayError("there is no HTTPS without a certificate: name the gateway's with --tls-certificate.")
        return None
    tls = Tls(given.tls_certificate, given.tls_key or given.tls_certificate, given.tls_clients)
    try:
        tls.check()
    except TlsError as error:
        raise GatewayError(str(error)) from None
    return tls


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
