"""Take the pictures of the chat page that the README shows: a real browser, the gateway, and the demo model.

make screenshots    (needs Debian's chromium, and the packages of the tests)
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

HERE = Path(__file__).parent
DIGIT = HERE.parents[1] / "examples" / "seven.ppm"
TOOL = """{"type": "function", "function": {"name": "get_weather", "description": "Weather in a city",
 "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}"""
COLOURS = 128


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Start a daemon with the demo model, and a gateway; yield its address."""
    socket = str(folder / "rkllm.sock")
    commands = [
        ["serve", "--socket", socket, "--runtime", "portable", "--model", "demo", "--no-keeper"],
        ["gateway", "--socket", socket, "--listen", "127.0.0.1:0"],
    ]
    with contextlib.ExitStack() as stack:
        line = ""
        for command in commands:
            process = subprocess.Popen(
                [sys.executable, "-m", "rkllmd", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            assert process.stdout is not None
            line = process.stdout.readline()
        yield line.split()[-1]


def opened(browser: Browser, address: str, width: int, height: int, scheme: str) -> Page:
    """Return the page in a browser of this size, once the model is there."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1.5
    )
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#model")).to_have_value("demo", timeout=60_000)
    return page


def ask(page: Page, *questions: str) -> None:
    """Ask, and wait for each answer."""
    for question in questions:
        page.locator("#words").fill(question)
        page.locator("#send").click()
        page.locator("article[aria-busy=true]").wait_for(state="detached")
        page.locator("#send[title=Send]").wait_for()


def new(page: Page) -> None:
    """Begin another conversation."""
    page.get_by_role("button", name="New conversation").first.click()


def settle(page: Page, **fields: str) -> None:
    """Give settings by their labels."""
    page.get_by_role("button", name="Settings").click()
    for label, value in fields.items():
        field = page.get_by_label(label)
        if field.evaluate("it => it.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    page.get_by_role("button", name="Done").click()


def show_digit(page: Page) -> None:
    """Put a drawn digit beside the next question."""
    drawn = io.BytesIO()
    Image.open(DIGIT).resize((320, 320), Image.Resampling.LANCZOS).save(drawn, "png")
    page.locator("#file").set_input_files({"name": "digit.png", "mimeType": "image/png", "buffer": drawn.getvalue()})
    page.get_by_alt_text("Picture 1").wait_for()


def take(page: Page, name: str) -> None:
    """Write what is seen, in few colours, so that the file is small."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(400)  # until what fades has faded
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(HERE / name, optimize=True)


def main() -> None:
    """Take all pictures."""
    chromium = shutil.which("chromium") or sys.exit("There is no browser: sudo apt install chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as address,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=arguments) as browser,
    ):
        page = opened(browser, address, 1080, 720, "light")
        for question in ("Tell me a joke.", "What is the capital of Japan?"):
            ask(page, question)
            new(page)
        settle(page, Temperature="0", Thinking="on")
        ask(page, "What is an NPU?")
        settle(page, Thinking="off")
        show_digit(page)
        ask(page, "Which digit is this?")
        take(page, "light.png")

        page = opened(browser, address, 1080, 720, "dark")
        for question in ("What is rain?", "Tell me a story."):
            ask(page, question)
            new(page)
        settle(page, Functions=TOOL)
        ask(page, "What is the weather in Oslo?", '{"weather": "sunny", "temperature": 18}')
        take(page, "dark.png")

        page = opened(browser, address, 390, 720, "light")
        ask(page, "What is a token?", "Tell me a joke.")
        take(page, "phone.png")


if __name__ == "__main__":
    main()
