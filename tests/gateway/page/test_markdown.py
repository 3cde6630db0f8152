"""Markdown as the page shows it, by its own module in a browser: what headings are, and that no line takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Route

from rkllmd.gateway.page.document import FOLDER
from tests.gateway.page import chromium

pytestmark = chromium.NEEDED
ADDRESS = "http://page.example/"
# Milliseconds in which a test's texts must have been shown: a pattern that looks back at all for each character takes
# many minutes.
PATIENCE = 120_000
SCRIPT = """async (texts) => {
  const { updateMarkdown } = await import("/markdown.js");
  return texts.map(([begin, text, count]) => {
    const element = document.createElement("div");
    updateMarkdown(element, begin + text.repeat(count));
    return element.innerHTML.slice(0, 100);
  });
}"""
# Of texts, each of which is its beginning, and a piece that comes a number of times.
Show = Callable[..., list[str]]


@pytest.fixture(scope="module")
def show() -> Iterator[Show]:
    """Return what shows texts, and returns the beginning of what becomes of each."""
    with chromium.started() as browser:
        page = browser.new_page()
        page.route(f"{ADDRESS}**", _serve)
        page.goto(ADDRESS)
        yield lambda *texts: [
            str(text) for text in page.wait_for_function(SCRIPT, arg=texts, timeout=PATIENCE).json_value()
        ]


def _serve(route: Route) -> None:
    name = route.request.url.removeprefix(ADDRESS)
    if name:
        route.fulfill(path=FOLDER / name, content_type="text/javascript")
    else:
        route.fulfill(body="<!DOCTYPE html>", content_type="text/html")


def test_a_heading_is_shown_without_its_marks(show: Show) -> None:
    lines = ("# a", "## a b ##", "# C#", "#  a  # #  ", "###### a", "#a", "####### a")
    assert show(*((line, "", 0) for line in lines)) == [
        "<h3>a</h3>",
        "<h4>a b</h4>",
        "<h3>C#</h3>",
        "<h3>a  #</h3>",
        "<h6>a</h6>",
        "<p>#a</p>",
        "<p>####### a</p>",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "#",
        " #",
        "# ",
        "*",
        "* a",
        "*a ",
        "**a ",
        "_a ",
        "~~a ",
        "`a",
        "[",
        "[a](",
        "![a](b ",
        "https://a(",
        "-|",
        "> ",
    ],
)
def test_no_line_takes_long(show: Show, text: str) -> None:
    """A model that repeats itself must not stop the page, which shows the answer anew with each piece of it."""
    # As many as the elements of a document that they may become.
    count = 200_000 if text == "#" else 60_000 // len(text)
    found = show(*((begin, text, count) for begin in ("", "# ", "- ", "> ", "a|b\n")))
    assert all(each.startswith("<") for each in found)
