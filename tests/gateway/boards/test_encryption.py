"""Files that can't be used are said before anything is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkllmd.gateway.boards.encryption import Tls, TlsError
from tests.gateway.boards.certificates import make


def test_the_certificates_of_the_example_can_be_used(tmp_path: Path) -> None:
    make(tmp_path, "board1.example")
    Tls(tmp_path / "board1.example.pem", tmp_path / "board1.example.pem", tmp_path / "authority.pem").check()


def test_what_can_t_be_used_is_named(tmp_path: Path) -> None:
    make(tmp_path, "board1.example")
    own, other = tmp_path / "board1.example.pem", tmp_path / "other"
    with pytest.raises(TlsError, match=f"^{other} can't be used as certificate and key: No such file or directory.$"):
        Tls(other, other).check()
    other.write_text("no certificate")
    with pytest.raises(TlsError, match=f"^{own} and {other} can't be used as certificate and key: it is not what"):
        Tls(own, other).check()
    with pytest.raises(TlsError, match=f"^{other} can't be used as the clients' authority: "):
        Tls(own, own, other).check()
