"""Markdown as the page shows it, by its own module in node: what headings are, and that no line takes long."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from rkllmd.gateway.page.document import FOLDER

NODE = shutil.which("node")
# As much of a document as the module needs; what was made is written as tags.
SCRIPT = """
class Made {
  constructor(tag) { this.tagName = tag.toUpperCase(); this.childNodes = []; }
  get children() { return this.childNodes.filter((child) => child instanceof Made); }
  append(...children) { this.childNodes.push(...children); }
  setAttribute() {}
  addEventListener() {}
  text() { return this.childNodes.map((child) => child instanceof Made ? child.tags() : child).join(""); }
  tags() { return `<${this.tagName}>${this.text()}</${this.tagName}>`; }
}
globalThis.document = { createElement: (tag) => new Made(tag), createElementNS: (space, tag) => new Made(tag) };
const { updateMarkdown } = await import("./markdown.js");
const shown = JSON.parse(process.argv[2]).map(([begin, text, count]) => {
  const element = new Made("div");
  updateMarkdown(element, begin + text.repeat(count));
  return element.text();
});
console.log(JSON.stringify(shown.map((text) => text.slice(0, 100))));
"""

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node: sudo apt install nodejs")


def shown(folder: Path, *texts: tuple[str, str, int]) -> list[str]:
    """Return the beginning of what becomes of each text: its beginning, and a piece that comes so many times."""
    assert NODE is not None
    for module in FOLDER.glob("*.js"):
        shutil.copy(module, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "show.js").write_text(SCRIPT)
    done = subprocess.run(
        [NODE, "show.js", json.dumps(texts)], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return [str(text) for text in json.loads(done.stdout)]


def test_a_heading_is_shown_without_its_marks(tmp_path: Path) -> None:
    lines = ("# a", "## a b ##", "# C#", "#  a  # #  ", "###### a", "#a", "####### a")
    assert shown(tmp_path, *((line, "", 0) for line in lines)) == [
        "<H3>a</H3>",
        "<H4>a b</H4>",
        "<H3>C#</H3>",
        "<H3>a  #</H3>",
        "<H6>a</H6>",
        "<P>#a</P>",
        "<P>####### a</P>",
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
def test_no_line_takes_long(tmp_path: Path, text: str) -> None:
    """A model that repeats itself must not stop the page, which shows the answer anew with each piece of it."""
    # As many as the elements of a document that they may become.
    count = 200_000 if text == "#" else 60_000 // len(text)
    found = shown(tmp_path, *((begin, text, count) for begin in ("", "# ", "- ", "> ", "a|b\n")))
    assert all(each.startswith("<") for each in found)
