"""Who may come: API keys, and which browsers' pages.

A browser sends what any page in it wants to every address that it can reach, this machine's own included. So a request
that names another origin is refused, and without keys also one that calls this machine by a name that somebody else may
have pointed at it (DNS rebinding).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final
from urllib.parse import urlsplit

from rkllmd.gateway.failures import Failure

# Balancers ask these without a key; they say no more than whether somebody serves. So does the chat page, which gives
# the key with all that it asks for.
WITHOUT_KEY: Final = ("/", "/health", "/ready")
# Pages in browsers can say nothing else when they open a WebSocket.
_KEY_AS_PROTOCOL: Final = "api-key."
# Who sends more of them guesses, and each takes time.
_MOST_GIVEN: Final = 4
_HASH: Final = re.compile("[0-9a-f]{64}")
_SHORT: Final = 8
# What sha256sum calls its input.
_OF_INPUT: Final = "-"
_BEARER: Final = re.compile("bearer +", re.IGNORECASE)


class KeysError(Exception):
    """The file of keys is wrong; the message is one sentence that says what to do."""


def read_keys(text: str) -> dict[str, str]:
    """Return whose keys there are, by their hashes: on each line of a file the SHA-256 in hex, then perhaps a name.

    A key without a name is called by the first digits of its hash. Raises KeysError.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        word, _, name = line.partition("#")[0].strip().partition(" ")
        if not word:
            continue
        if not _HASH.fullmatch(word):
            raise KeysError(f"line {number} must begin with the SHA-256 of a key, as sha256sum prints it.")
        found[word] = name.strip().removeprefix(_OF_INPUT) or word[:_SHORT]
    if not found:
        raise KeysError("there is no key in it.")
    return found


@dataclass(slots=True)
class Access:
    """Decides on requests. ``keys``: whose there are, by their hashes, empty where none is wanted; ``origins``: pages.

    ``keys`` may be replaced.
    ``has_certificates``: nobody comes without one, so no browser does that a page from elsewhere has sent.
    """

    keys: Mapping[str, str] = field(default_factory=dict)
    origins: frozenset[str] = field(default_factory=frozenset)
    has_certificates: bool = False

    def refusal(self, path: str, headers: Mapping[str, str], key: str | None) -> Failure | None:
        """Return why a request is refused, None if it is not; the names of ``headers`` are in lower case.

        ``key``: what ``whose`` says of the request.
        """
        host = headers.get("host", "")
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins and not (host and _host(origin) == host):
            return Failure(
                403, "PermissionDenied", "Pages of this origin may not send requests: allow it with --allow-origin."
            )
        if not self.keys:
            if self.has_certificates or _is_own(host):
                return None
            return Failure(
                403,
                "PermissionDenied",
                "Requests under this host name need API keys: use the machine's address, or start with --api-keys.",
            )
        if path in WITHOUT_KEY or key is not None:
            return None
        return Failure(
            401, "PermissionDenied", "The API key is missing or wrong: send it as Authorization: Bearer KEY."
        )

    def whose(self, headers: Mapping[str, str]) -> str | None:
        """Return whose key a request has, None where it has none that is known."""
        given_keys = islice(_given_keys(headers), _MOST_GIVEN)
        # As headers are read: a key in UTF-8 has the bytes of which its hash was made.
        hashes = [hashlib.sha256(key.encode("latin-1")).hexdigest() for key in given_keys]
        # All are compared, so that the time says nothing.
        found = [known for known in self.keys for given in hashes if hmac.compare_digest(known, given)]
        return self.keys[found[0]] if found else None


def _given_keys(headers: Mapping[str, str]) -> Iterable[str]:
    if (value := headers.get("authorization")) and (scheme := _BEARER.match(value)):
        yield value[scheme.end() :].strip()
    if value := headers.get("x-api-key"):
        yield value
    for offered in headers.get("sec-websocket-protocol", "").split(","):
        if (name := offered.strip()).startswith(_KEY_AS_PROTOCOL):
            yield name.removeprefix(_KEY_AS_PROTOCOL)


def _host(origin: str) -> str | None:
    """Return the host and port of an origin; None where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _is_own(host: str) -> bool:
    """Return whether a Host header can't be a name of the public DNS: an address, or a name that is only known here."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        ipaddress.ip_address(name)
    except ValueError:
        name = host.partition(":")[0].lower()
        return "." not in name or name.endswith((".localhost", ".local"))
    return True


def is_loopback(address: str) -> bool:
    """Return whether an address of ``--listen`` is reached from this machine only."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
