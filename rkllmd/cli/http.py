"""What commands that serve HTTP have in common: where they listen, who may come, and how it is encrypted."""

from __future__ import annotations

import argparse
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from rkllmd.machine import lifetime
from rkllmd.requirements import install_extras

if TYPE_CHECKING:
    from rkllmd.gateway.access import Access
    from rkllmd.gateway.boards.encryption import Tls

_SCHEMES: Final = ("http", "https")


class HttpError(Exception):
    """It can't be served so; the message is one sentence that says what to do.

    ``status``: with which the command ends. The units start it again unless that is the one of wrong options.
    """

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def taken(addresses: Sequence[str], error: OSError) -> HttpError:
    """Return what to say where addresses can't be had, which may be so for a moment only."""
    return HttpError(f"{' '.join(addresses)} can't be listened to: {error.strerror or error}.", 1)


def missing(error: ModuleNotFoundError, *extras: str) -> HttpError:
    """Return what to say where a package of these extras is not installed."""
    return HttpError(f"{error.name} is not installed: {install_extras(*extras)}")


def add_arguments(parser: argparse.ArgumentParser, listen: str) -> None:
    """Add the options; ``listen`` describes ``--listen``."""
    parser.add_argument("--listen", action="append", metavar="HOST:PORT", help=listen)
    parser.add_argument(
        "--api-keys", type=Path, metavar="FILE", help="who may come: on each line the SHA-256 of a key (sha256sum)"
    )
    parser.add_argument(
        "--allow-anybody", action="store_true", help="listen beyond this machine without API keys: all may come"
    )
    parser.add_argument(
        "--no-access-log", dest="access_log", action="store_false", help="write no line on stderr for each request"
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
        "--allow-origin",
        action="append",
        metavar="ORIGIN",
        help="let pages of this origin (https://chat.example.org) ask from a browser; may be given several times",
    )


def access(given: argparse.Namespace, addresses: Sequence[str]) -> Access:
    """Return who may come to these addresses. Raises HttpError."""
    from rkllmd.gateway.access import Access, is_loopback  # no other command, the daemon least, has to load it

    for address in addresses:
        check_address("listen", address)
        if not (is_loopback(address) or given.api_keys or given.tls_clients or given.allow_anybody):
            raise HttpError(
                f"{address} can be reached from other machines: name a file of keys with --api-keys, or say "
                "--allow-anybody."
            )
    origins = frozenset(_origin(origin) for origin in given.allow_origin or ())
    return Access(_keys(given.api_keys), origins, has_certificates=bool(given.tls_clients))


def renewal(given: argparse.Namespace, access: Access) -> Callable[[], None] | None:
    """Return what SIGHUP does: the keys are read anew. None where it is the end of the command's terminal."""
    path = given.api_keys
    if lifetime.decide("auto") == lifetime.TERMINAL:
        return None

    def renew() -> None:
        try:
            access.keys = _keys(path)
        except HttpError as error:
            print(f"rkllmd: {error} What was read before goes on.", file=sys.stderr, flush=True)
        else:
            if path is not None:
                print(f"The keys of {path} were read anew.", flush=True)

    return renew


def _origin(given: str) -> str:
    """Return an origin as browsers name it: without a path, and in lower case. Raises HttpError."""
    try:
        scheme, host, path, *more = urlsplit(given.lower())
    except ValueError:  # brackets that are no IPv6 address
        scheme = host = ""
        path, more = given, []
    if scheme not in _SCHEMES or not host or path not in ("", "/") or any(more):
        raise HttpError(f"--allow-origin {given} is no origin: name each as a browser does, https://chat.example.org.")
    return f"{scheme}://{host}"


def check_address(option: str, address: str) -> None:
    """Refuse what is no address to listen at. Raises HttpError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise HttpError(f"--{option} {address} is not HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080.")


def tls(given: argparse.Namespace) -> Tls | None:
    """Return how it is encrypted, None for not at all. Raises HttpError."""
    from rkllmd.gateway.boards.encryption import Tls, TlsError

    if given.tls_certificate is None:
        if given.tls_key or given.tls_clients:
            raise HttpError("there is no HTTPS without a certificate: name the gateway's with --tls-certificate.")
        return None
    found = Tls(given.tls_certificate, given.tls_key or given.tls_certificate, given.tls_clients)
    try:
        found.check()
    except TlsError as error:
        raise HttpError(str(error)) from None
    return found


def _keys(path: Path | None) -> dict[str, str]:
    from rkllmd.gateway.access import KeysError, read_keys

    if path is None:
        return {}
    try:
        if path.stat().st_mode & stat.S_IWOTH:
            raise HttpError(f"{path} can be written by everybody, who could add a key: chmod o-w {path}")
        return read_keys(path.read_text())
    except (OSError, ValueError) as error:
        raise HttpError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}.") from None
    except KeysError as error:
        raise HttpError(f"{path} is no file of keys: {error}") from None
