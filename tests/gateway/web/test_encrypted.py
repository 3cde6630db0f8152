"""HTTPS for clients that would rather speak HTTP/2: they are served with HTTP/1.1."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.boards.certificates import make
from tests.gateway.process import gateway

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the certificates are."""
    found = tmp_path_factory.mktemp("encrypted")
    make(found, HOST)
    return found


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Return where a gateway is; it needs no daemon for what is asked here."""
    with gateway(str(folder / "none.sock"), folder, "--tls-certificate", str(folder / f"{HOST}.pem")) as found:
        yield found


@pytest.mark.parametrize(
    ("offered", "agreed"), [(["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), (["h2"], None), ([], None)]
)
def test_http_1_is_agreed_on(folder: Path, address: str, offered: list[str], agreed: str | None) -> None:
    context = ssl.create_default_context(cafile=folder / "authority.pem")
    if offered:
        context.set_alpn_protocols(offered)
    with (
        socket.create_connection((HOST, int(address.rpartition(":")[2])), 60) as connection,
        context.wrap_socket(connection, server_hostname=HOST) as stream,
    ):
        assert stream.selected_alpn_protocol() == agreed
        stream.sendall(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % HOST.encode())
        assert stream.recv(65_536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("option", ["--http2", "--http1.1"])
def test_curl_is_served_whichever_it_prefers(folder: Path, address: str, option: str) -> None:
    asked = ["curl", "--silent", "--cacert", str(folder / "authority.pem"), option]
    done = subprocess.run([*asked, "--write-out", "|%{http_version}", address], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "Ollama is running|1.1")
