"""Who may come."""

from __future__ import annotations

import hashlib

import pytest

from rkllmd.gateway.access import Access, KeysError, is_loopback, read_keys
from rkllmd.gateway.failures import Failure

HASH = hashlib.sha256(b"secret").hexdigest()
KEYED = Access({HASH: "kitchen"})
# As pages in browsers open a WebSocket.
PROTOCOL = {"sec_websocket_protocol": "jsonrpc, api-key.secret"}


def refused(access: Access, path: str, headers: dict[str, str]) -> Failure | None:
    return access.refusal(path, headers, access.whose(headers))


def status(access: Access, path: str = "/v1/models", **headers: str) -> int:
    given = {"host": "127.0.0.1:8080", **{k.replace("_", "-"): v for k, v in headers.items()}}
    refusal = refused(access, path, given)
    return 200 if refusal is None else refusal.status


def test_without_keys_everybody_on_this_machine_may_come() -> None:
    assert status(Access()) == 200


@pytest.mark.parametrize(
    "headers",
    [{"authorization": "Bearer secret"}, {"authorization": "bearer  secret"}, {"x_api_key": "secret"}, PROTOCOL],
)
def test_a_key_opens(headers: dict[str, str]) -> None:
    assert status(KEYED, **headers) == 200


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer other"}, {"authorization": "secret"}, {"authorization": f"Bearer {HASH}"}]
)
def test_no_key_and_a_wrong_one_are_refused(headers: dict[str, str]) -> None:
    assert status(KEYED, **headers) == 401
    assert status(KEYED, "/health", **headers) == 200


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("http://127.0.0.1:8080", 200),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://[", 403),
        ("http://[::1:8080", 403),
    ],
)
def test_pages_of_other_origins_may_not_ask(origin: str, code: int) -> None:
    assert status(Access(), origin=origin) == code


def test_a_page_without_a_host_is_no_own_one_where_the_request_has_none() -> None:
    refusal = refused(Access(), "/", {"origin": "null"})
    assert refusal is not None
    assert refusal.status == 403


def test_a_key_may_have_any_characters() -> None:
    access = Access({hashlib.sha256("clé".encode()).hexdigest(): "somebody"})
    assert status(access, authorization="Bearer " + "clé".encode().decode("latin-1")) == 200


def test_who_sends_many_keys_does_not_have_all_of_them_looked_at() -> None:
    guesses = ", ".join(f"api-key.{number}" for number in range(1000))
    assert status(KEYED, sec_websocket_protocol=f"{guesses}, api-key.secret") == 401
    assert status(KEYED, sec_websocket_protocol="jsonrpc, api-key.1, api-key.secret") == 200


def test_an_origin_may_be_allowed() -> None:
    assert status(Access(origins=frozenset({"https://chat.example"})), origin="https://chat.example") == 200


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost:8080", 200),
        ("[::1]:8080", 200),
        ("192.168.0.7", 200),
        ("board.local:80", 200),
        ("rkllmd:8080", 200),
        ("evil.example:8080", 403),
        ("evil.example", 403),
        ("[::1", 200),
    ],
)
def test_a_name_of_the_public_dns_is_not_ours_without_keys(host: str, code: int) -> None:
    refusal = refused(Access(), "/", {"host": host})
    assert (200 if refusal is None else refusal.status) == code
    assert refused(KEYED, "/", {"host": host, "x-api-key": "secret"}) is None


def test_a_file_of_keys_has_hashes_names_and_comments() -> None:
    assert read_keys(f"# people\n\n{HASH}  the kitchen # upstairs\n") == {HASH: "the kitchen"}


@pytest.mark.parametrize("name", ["", "  -", " # a comment"])
def test_a_key_without_a_name_is_called_by_its_hash(name: str) -> None:
    assert read_keys(HASH + name) == {HASH: HASH[:8]}


def test_whose_a_key_is() -> None:
    assert [KEYED.whose({"x-api-key": key}) for key in ("secret", "other")] == ["kitchen", None]


@pytest.mark.parametrize("text", ["", "# none\n", "secret\n", f"{HASH[1:]}\n"])
def test_a_file_without_a_key_or_with_a_bare_one_is_refused(text: str) -> None:
    with pytest.raises(KeysError):
        read_keys(text)


@pytest.mark.parametrize(
    ("address", "is_own"),
    [("127.0.0.1:80", True), ("[::1]:80", True), ("localhost:80", True), ("0.0.0.0:80", False), ("board:80", False)],
)
def test_which_addresses_are_this_machines_only(address: str, is_own: bool) -> None:
    assert is_loopback(address) is is_own
