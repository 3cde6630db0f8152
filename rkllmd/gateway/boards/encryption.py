"""HTTPS, which the way between a balancer and its boards needs as any other does."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path


class TlsError(Exception):
    """A file can't be used; the message is one sentence that says which and why."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The gateway's ``certificate`` with its ``key``, and ``clients``, an authority that must know all who come."""

    certificate: Path
    key: Path
    clients: Path | None = None

    def check(self) -> None:
        """Try the files. Raises TlsError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            names = " and ".join(dict.fromkeys((str(self.certificate), str(self.key))))
            raise TlsError(f"{names} can't be used as certificate and key: {_why(error)}.") from None
        if self.clients is None:
            return
        try:
            context.load_verify_locations(self.clients)
        except OSError as error:
            raise TlsError(f"{self.clients} can't be used as the clients' authority: {_why(error)}.") from None


def _why(error: OSError) -> str:
    """Return what is wrong with a file; OpenSSL has no words for one that is something else."""
    if not isinstance(error, ssl.SSLError):
        return str(error.strerror or error)
    reason = (error.reason or "").replace("_", " ").lower()
    return reason if reason and error.library == "X509" else "it is not what PEM files of these have"
