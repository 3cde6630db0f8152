"""The chat page as one document, with the headers that let it do no more than it has to.

``page.html`` with its style sheets and its script, which imports the others, is a page by itself. Served as one file it
needs one request, and its policy can name the only script and the only styles that may run by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
_STYLES: Final = re.compile(r'(?:<link rel="stylesheet" href="[\w-]+\.css">\n)+')
_SCRIPT: Final = re.compile(r'<script type="module" src="([\w-]+\.js)"></script>')
_IMPORT: Final = re.compile(r'^import \{[^}]*\} from "\./([\w-]+\.js)";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:const|function|class)\b)", re.MULTILINE)
# What readers of the files need, and browsers don't: space in style sheets, comments, and the margin.
_SPACE: Final = re.compile(r"\s*([{};,])\s*")
_MARGIN: Final = re.compile(r"^(?://.*\n|\s+(?://.*\n)?|/\*.*\*/\n)|(?<=[;,{]) // .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Document:
    """A page as it is sent: its bytes (UTF-8), and the headers that belong to it."""

    body: bytes
    headers: Mapping[str, str]


def assembled(folder: Path = FOLDER) -> Document:
    """Return the page of a folder."""
    html = _MARGIN.sub("", (folder / "page.html").read_text())
    style, script = _styles(folder, html), _scripts(folder, html)
    html = _STYLES.sub(lambda _: f"<style>{style}</style>", html)
    html = _SCRIPT.sub(lambda _: f'<script type="module">{script}</script>', html)
    body = html.encode()
    return Document(body, _headers(body, style, script))


def wants_page(accept: str) -> bool:
    """Return whether an Accept header is that of a browser, which names HTML; other clients take whatever comes."""
    for item in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        if kind == "text/html":
            return not any(re.fullmatch(r"q=0(\.0*)?", part) for part in parameters)
    return False


def _styles(folder: Path, html: str) -> str:
    names = re.findall(r'href="([\w-]+\.css)"', html)
    return "".join(_SPACE.sub(r"\1", _MARGIN.sub("", (folder / name).read_text())) for name in names)


def _scripts(folder: Path, html: str) -> str:
    """Return all modules as one: each behind those that it imports, without the words that connect them."""
    found: dict[str, str] = {}

    def add(name: str) -> None:
        if name in found:
            return
        text = (folder / name).read_text()
        for imported in _IMPORT.findall(text):
            add(imported)
        found[name] = text

    for name in _SCRIPT.findall(html):
        add(name)
    return "".join(_MARGIN.sub("", _EXPORT.sub("", _IMPORT.sub("", text))) for text in found.values())


def _headers(body: bytes, style: str, script: str) -> Mapping[str, str]:
    policy = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        # Nothing in the page may make elements or code of a text.
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "content-type": "text/html; charset=utf-8",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-cache",
        "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
    }


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
