"""The chat page as one document: small, whole, and allowed to do nothing that it does not do."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from rkllmd.gateway.page.document import FOLDER, assembled, wants_page

PAGE = assembled()
TEXT = PAGE.body.decode()
SOURCES = {path.name: path.read_text() for path in FOLDER.glob("*.js")}


def test_it_is_one_small_file_that_asks_nobody_else() -> None:
    assert len(PAGE.body) < 60_000
    targets = re.findall(r'\b(?:src|href|action)="([^"]*)"', TEXT)
    assert {target[:1] for target in targets} == {"#", "d"}, "icons of its own, and one in a data: address"
    assert not re.search(r"@import|url\(|\bon\w+=\"|\bstyle=\"|innerHTML|document\.write", TEXT)


def test_all_modules_are_in_it_and_export_what_is_imported() -> None:
    assert not re.search(r"^\s*(?:import|export)\b", TEXT, re.MULTILINE)
    taken = set()
    for text in SOURCES.values():
        for names, module in re.findall(r'^import \{ ([^}]*) \} from "\./([\w-]+\.js)";', text, re.MULTILINE):
            taken |= {(name, module) for name in names.split(", ")}
    assert len(taken) > 20
    for name, module in taken:
        declared = rf"(?:const|function\*?|class) {re.escape(name)}[ (]"
        assert re.search(rf"^export (?:async )?{declared}", SOURCES[module], re.MULTILINE), name
        assert re.search(declared, TEXT), name


def test_its_policy_allows_its_own_script_and_styles_only() -> None:
    policy = PAGE.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for directive, tag in (("script-src", "script"), ("style-src", "style")):
        [content] = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", TEXT, re.DOTALL)
        hashed = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"; {directive} 'sha256-{hashed}'; " in policy


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("application/json, Text/HTML; level=1; q=0.4", True),
        ("text/html;q=0, */*", False),
        ("*/*", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_browsers_are_known_by_what_they_accept(accept: str, wanted: bool) -> None:
    assert wants_page(accept) is wanted
