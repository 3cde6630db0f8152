"""What commands that serve HTTP refuse before they listen, as the gateway does."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkllmd.cli import gateway, http
from rkllmd.cli.command import parser_and_commands
from rkllmd.cli.http import HttpError


def refusal(*arguments: str) -> str:
    with pytest.raises(HttpError) as refused:
        gateway.run(parser_and_commands()[0].parse_args(["gateway", *arguments]))
    return str(refused.value)


def test_an_address_beyond_this_machine_needs_keys() -> None:
    assert "--api-keys" in refusal("--listen", "127.0.0.1:0", "--listen", "0.0.0.0:0")


@pytest.mark.parametrize("address", ["8080", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", ":80"])
def test_an_address_has_a_host_and_a_port(address: str) -> None:
    assert "is not HOST:PORT" in refusal("--listen", address)


def test_a_file_of_keys_must_be_there_and_have_hashes(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    assert "can't be read: No such file" in refusal("--api-keys", str(keys))
    keys.write_text("secret\n")
    assert "is no file of keys: line 1" in refusal("--api-keys", str(keys))


def test_a_file_of_keys_that_everybody_may_write_is_not_one(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("0" * 64)
    keys.chmod(0o666)
    assert refusal("--api-keys", str(keys)).endswith(f"chmod o-w {keys}")


@pytest.mark.parametrize("origin", ["chat.example.org", "*", "null", "https://a.example/chat", "https://", "http://["])
def test_an_origin_is_named_as_browsers_do(origin: str) -> None:
    assert refusal("--allow-origin", origin).startswith(f"--allow-origin {origin} is no origin")


def test_an_origin_may_end_with_a_slash_and_have_capitals() -> None:
    given = parser_and_commands()[0].parse_args(["gateway", "--allow-origin", "HTTPS://Chat.example.org:8443/"])
    assert http.access(given, []).origins == {"https://chat.example.org:8443"}


def test_what_is_wrong_for_good_ends_with_another_status_than_an_address_that_is_taken() -> None:
    assert HttpError("--listen a is not HOST:PORT.").status == 2
    assert http.taken(["127.0.0.1:80"], OSError(13, "Permission denied")).status == 1
