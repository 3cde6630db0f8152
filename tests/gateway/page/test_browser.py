"""The chat page in a real browser, over the real gateway and the real daemon on the simulator."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from rkllmd.portable.demo.vision.draw import draw_digit
from tests.daemon import ENDLESS, SEEN_SECONDS, Daemon, Start
from tests.gateway.page import chromium
from tests.gateway.process import gateway

KEY = "a key"
PATIENCE = SEEN_SECONDS * 1000  # milliseconds
BROWSER_SAYS = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
MARKDOWN = (
    r"""<think>They want a list.</think># Sizes\n\n1. **small**, `a*b*` of 2*3*4\n   - *inner*\n2. large, [here](https://e.example/)\n
---\n&lt;b&gt; &amp; &#38;\n
| n | m |\n|---|--:|\n| 1 | 2 |\n\n```py\nprint("<b>long</b>")  # """.replace("\n", "")
    + "x" * 200
    + r"""\n```\n
<img src=x onerror=alert(1)> [bad](javascript:alert(1)) ![seen](https://e.example/p.png)""".replace("\n", "")
)
CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</tool_call>'
TOOL = '{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}'
# A picture that is dragged into the page.
DROP = """new Promise((resolve) => document.createElement("canvas").toBlob(resolve)).then((drawn) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([drawn], "drawn.png", { type: "image/png" }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
})"""
# What can be used has a name that is read out.
NAMELESS = """[...document.querySelectorAll("button, input:not([hidden]), select, textarea")]
  .filter((item) => !item.labels?.length && !item.ariaLabel && !item.textContent.trim())
  .map((item) => item.outerHTML)"""

pytestmark = chromium.NEEDED


@pytest.fixture(scope="module")
def daemon(start_for_module: Start) -> Daemon:
    started = start_for_module("--max-queue", "4", scenario="text=Hello.", changing=True)
    started.load(max_new_tokens=1_000_000_000)
    return started


@pytest.fixture(scope="module")
def address(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return where a gateway is that wants a key."""
    folder = tmp_path_factory.mktemp("gateway")
    keys = folder / "keys"
    keys.write_text(hashlib.sha256(KEY.encode()).hexdigest())
    with gateway(daemon.path, folder, "--api-keys", str(keys)) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with chromium.started() as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Return the page in a browser that has never seen it; it may complain of nothing but refused requests."""
    with browser.new_context(color_scheme="light", viewport={"width": 1000, "height": 700}) as context:
        found = context.new_page()
        found.set_default_timeout(PATIENCE)
        complaints: list[str] = []
        found.on("pageerror", lambda error: complaints.append(str(error)))
        found.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        found.goto(address)
        yield found
        assert [line for line in complaints if not line.startswith("Failed to load resource")] == []


@pytest.fixture
def chat(page: Page) -> Page:
    """Return the page with the key given, ready to be written into."""
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_label("Model", exact=True)).to_have_value("model")
    return page


def ask(page: Page, question: str) -> None:
    page.get_by_label("Write a message").fill(question)
    page.keyboard.press("Enter")


def ask_without_end(page: Page, daemon: Daemon) -> int:
    """Ask for an answer without an end, and wait for its first words; return how many runs had ended before."""
    ended = daemon.calls("rkllm_run_async", "finished")
    daemon.play(ENDLESS)
    ask(page, "Go on")
    expect(page.locator("article.answer .markdown")).to_contain_text("abab")
    return ended


def answered(page: Page, *texts: str) -> None:
    """Wait until there are these answers and no more, all of them whole."""
    expect(page.locator("article.answer .markdown")).to_have_text(list(texts))
    expect(page.locator("article[aria-busy=true]")).to_have_count(0)


def test_browsers_get_the_page_and_others_the_line(address: str) -> None:
    with httpx.Client(base_url=address, timeout=60) as http:
        found = http.get("/", headers=BROWSER_SAYS)
        assert found.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src 'sha256-" in found.headers["content-security-policy"]
        assert http.head("/", headers=BROWSER_SAYS).headers["content-length"] == str(len(found.content))
        again = http.get("/", headers={**BROWSER_SAYS, "if-none-match": found.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert http.get("/").text == "Ollama is running"
        assert found.headers["vary"] == http.get("/").headers["vary"] == "Accept"


def test_a_key_is_asked_for_once(page: Page) -> None:
    key = page.get_by_label("API key")
    expect(key).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_text("The API key is missing or wrong")).to_be_visible()
    expect(key).to_be_hidden()
    ask(page, "Hello")
    expect(key).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("article .note.error")).to_have_text(re.compile("^The API key .* Give the key$"))
    page.get_by_role("button", name="Give the key").click()
    key.fill(KEY)
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_label("Model", exact=True)).to_have_value("model")


def test_a_conversation_is_shown_safely_and_is_there_after_a_reload(chat: Page, daemon: Daemon) -> None:
    daemon.play(text=MARKDOWN)
    ask(chat, "Which sizes?\n<b>all</b>")
    expect(chat.locator("article.answer .figures")).to_contain_text("tokens/s")
    for _ in range(2):
        answer = chat.locator("article.answer")
        expect(answer.locator("h3")).to_have_text("Sizes")
        expect(answer.locator("ol > li")).to_have_text([re.compile(r"small, a\*b\* of 2\*3\*4"), "large, here"])
        expect(answer.get_by_text("<b> & &#38;", exact=True)).to_be_visible()
        expect(answer.locator("ol ul em")).to_have_text("inner")
        expect(answer.locator("td.right")).to_have_text("2")
        expect(answer.locator("pre")).to_contain_text('print("<b>long</b>")')
        expect(answer.locator("img, b, script")).to_have_count(0)
        assert [link.get_attribute("href") for link in answer.get_by_role("link").all()] == [
            "https://e.example/",
            "https://e.example/p.png",
        ]
        thinking = answer.get_by_role("group")
        expect(thinking.get_by_text("They want a list.")).to_be_hidden()
        thinking.locator("summary").click()
        expect(thinking.get_by_text("They want a list.")).to_be_visible()
        expect(chat.locator("article.said .words")).to_have_text("Which sizes?\n<b>all</b>")
        chat.set_viewport_size({"width": 360, "height": 640})
        assert chat.evaluate("document.documentElement.scrollWidth") <= 360
        chat.reload()
    daemon.play(text="Two.")
    ask(chat, "How many?")
    expect(chat.locator("article.answer")).to_have_count(2)
    answered(chat, re.compile("Sizes"), "Two.")  # type: ignore[arg-type]  # a pattern will do


def test_an_answer_is_stopped_and_asked_for_again(chat: Page, daemon: Daemon) -> None:
    ended = ask_without_end(chat, daemon)
    chat.get_by_role("button", name="Stop").click()
    expect(chat.get_by_text("Stopped.", exact=True)).to_be_visible()
    daemon.wait_finished(ended + 1)
    chat.get_by_role("button", name="Answer again").click()
    expect(chat.locator("article.answer .markdown")).to_contain_text("abab")
    chat.reload()
    expect(chat.get_by_text("The page was closed before the answer had ended.")).to_be_visible()
    daemon.wait_finished(ended + 2)
    daemon.play(text="Done.")
    # "Try again" where nothing of it had been kept, "Answer again" below what was.
    chat.get_by_role("button", name=re.compile("again$")).first.click()
    answered(chat, "Done.")
    chat.get_by_role("button", name="Edit").click()
    expect(chat.get_by_text("You are editing")).to_be_visible()
    ask(chat, "Stop")
    answered(chat, "Done.")
    expect(chat.locator("article.said .words")).to_have_text(["Stop"])


def test_a_picture_is_seen_and_a_daemon_that_is_gone_is_said(browser: Browser, start: Start, tmp_path: Path) -> None:
    daemon = start("--model", "demo", runtime="portable")
    with gateway(daemon.path, tmp_path) as address, browser.new_context() as context:
        chat = context.new_page()
        show_a_digit(chat, address)
        chat.evaluate(DROP)
        chat.get_by_role("button", name="Remove the picture").click()
        daemon.stop()
        ask(chat, "Hello")
        expect(chat.locator("article .note.error")).to_have_text(re.compile("^The NPU daemon .* Try again$"))
        expect(chat.get_by_text("The daemon does not run")).to_be_visible()


def show_a_digit(chat: Page, address: str) -> None:
    drawn = io.BytesIO()
    draw_digit(3, seed=3).resize((3000, 1500)).save(drawn, "png")
    chat.goto(address)
    expect(chat.get_by_label("Model", exact=True)).to_have_value("demo")
    chat.get_by_role("button", name="Settings").click()
    chat.get_by_label("Temperature").fill("0")
    chat.get_by_role("button", name="Done").click()
    chat.locator("#file").set_input_files({"name": "red.png", "mimeType": "image/png", "buffer": drawn.getvalue()})
    expect(chat.get_by_alt_text("Picture 1")).to_be_visible()
    with chat.expect_response("**/v1/chat/completions") as waited:
        ask(chat, "Which digit is this?")
    shown = chat.get_by_alt_text("A picture that you sent")
    expect(shown).to_be_visible()
    asked: Any = waited.value.request.post_data_json
    [picture, words] = asked["messages"][0]["content"]
    assert words == {"type": "text", "text": "Which digit is this?"}
    kind, _, data = picture["image_url"]["url"].partition(";base64,")
    sent = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (kind, sent.format, sent.size) == ("data:image/jpeg", "JPEG", (1024, 512))
    answered(chat, "This is the digit 3.")


def test_what_goes_wrong_is_a_sentence(chat: Page, daemon: Daemon) -> None:
    daemon.play(text="Hello.", run="fail")
    ask(chat, "Hello")
    expect(chat.locator("article .note.error")).to_have_text(re.compile(r"^rkllm_run_async .*\. Try again$"))
    daemon.play(text="Hello.")
    chat.get_by_role("button", name="Try again").click()
    answered(chat, "Hello.")
    expect(chat.get_by_role("button", name="Add a picture")).to_be_hidden()


def test_calls_of_functions_are_shown_and_answered(chat: Page, daemon: Daemon) -> None:
    chat.get_by_role("button", name="Settings").click()
    chat.get_by_label("Functions").fill("[")
    expect(chat.get_by_text("The functions are no JSON")).to_be_visible()
    chat.get_by_label("Functions").fill(TOOL)
    expect(chat.get_by_text("The functions are no JSON")).to_have_count(0)
    chat.get_by_role("button", name="Done").click()
    daemon.play(text=CALL)
    ask(chat, "The weather in Oslo?")
    expect(chat.get_by_text("Calls get_weather")).to_be_visible()
    expect(chat.locator(".call pre")).to_have_text('{ "city": "Oslo" }')
    daemon.play(text="It snows.")
    chat.get_by_label("Result of get_weather").fill('{"sky": "snow"}')
    chat.keyboard.press("Enter")
    answered(chat, "", "It snows.")


def test_conversations_are_kept_apart_and_wait_in_the_queue(chat: Page, daemon: Daemon) -> None:
    daemon.hold()
    daemon.play(text="Late.", prefill_hold=1)
    ask(chat, "First")
    chat.get_by_role("button", name="New conversation").first.click()
    ask(chat, "Second")
    expect(chat.get_by_text("Queued, position 1 of 1")).to_be_visible()
    daemon.let_go()
    answered(chat, "Late.")
    listed = chat.locator("#conversations .title")
    expect(listed).to_have_text(["Second", "First"])
    listed.nth(1).click()
    expect(chat.locator("article.said .words")).to_have_text("First")
    answered(chat, "Late.")
    chat.get_by_role("button", name="Rename").nth(1).click()
    chat.get_by_label("Title of the conversation").fill("The first one")
    chat.keyboard.press("Enter")
    chat.get_by_role("button", name="Delete").first.click()
    expect(listed).to_have_text(["The first one"])
    chat.get_by_role("button", name="Undo").click()
    expect(chat.locator("article.said .words")).to_have_text("Second")


def test_light_dark_and_the_drawer_of_a_phone(chat: Page) -> None:
    def ground() -> str:
        return str(chat.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = ground()
    chat.emulate_media(color_scheme="dark")
    dark = ground()
    assert dark != light
    chat.get_by_role("button", name="Theme: system").click()
    assert ground() == light
    chat.get_by_role("button", name="Theme: light").click()
    chat.emulate_media(color_scheme="light")
    chat.reload()
    assert ground() == dark
    assert chat.evaluate(NAMELESS) == []
    chat.set_viewport_size({"width": 360, "height": 640})
    drawer = chat.get_by_role("button", name="New conversation")
    expect(drawer).to_be_hidden()
    chat.get_by_role("button", name="Conversations").click()
    expect(drawer).to_be_visible()
    chat.keyboard.press("Escape")
    expect(drawer).to_be_hidden()


def test_a_conversation_that_is_deleted_while_it_is_answered_stays_deleted(chat: Page, daemon: Daemon) -> None:
    ended = ask_without_end(chat, daemon)
    chat.get_by_role("button", name="Delete").click()
    daemon.wait_finished(ended + 1)
    daemon.play(text="Hello.")
    ask(chat, "Hello")
    answered(chat, "Hello.")
    listed = chat.locator("#conversations .title")
    expect(listed).to_have_text(["Hello"])
    chat.reload()
    expect(listed).to_have_text(["Hello"])


def test_who_reads_in_another_window_stays_where_they_are(chat: Page, daemon: Daemon, address: str) -> None:
    daemon.play(text="A line.\\n\\n" * 200)
    ask(chat, "First")
    expect(chat.locator("article.answer .figures")).to_contain_text("tokens/s")
    other = chat.context.new_page()
    other.goto(address)
    expect(other.get_by_text("A line.").first).to_be_attached()
    other.locator("#scroller").hover()
    other.mouse.wheel(0, -300)
    expect(other.get_by_role("button", name="Go to the latest words")).to_be_visible()
    place = other.evaluate("document.querySelector('#scroller').scrollTop")
    daemon.play(text="Two.")
    ask(chat, "Second")
    expect(other.locator("article.answer .markdown")).to_have_text([re.compile("A line"), "Two."])
    assert other.evaluate("document.querySelector('#scroller').scrollTop") == place
    other.get_by_role("button", name="Go to the latest words").click()
    expect(other.get_by_role("button", name="Go to the latest words")).to_be_hidden()
