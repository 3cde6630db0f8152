"""What C prints: each test runs in a process of its own, since descriptors 1 and 2 change their meaning."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rkllmd.machine.runtime_output import RuntimeOutput
from tests.daemon import Daemon, until

# ``c(...)`` prints as a C library does; ``answer`` becomes what the test gets, with the logged lines.
PROGRAM = """
import ctypes, json, os
import structlog, trio
from structlog.testing import capture_logs
from rkllmd.machine import runtime_output
from rkllmd.machine.runtime_output import RuntimeOutput

reader, stdout, stderr = runtime_output.capture()
output = RuntimeOutput(reader)
libc = ctypes.CDLL(None)
libc.printf.argtypes = [ctypes.c_char_p, ctypes.c_char_p]

def c(text):
    libc.printf(b"%s", text if isinstance(text, bytes) else text.encode())

def e(text):
    os.write(2, text if isinstance(text, bytes) else text.encode())

answer = None
with capture_logs() as logs:
{body}
os.write(stdout, json.dumps([answer, [[entry["event"], entry["log_level"], entry["line"]] for entry in logs]]).encode())
"""


def ran(body: str) -> tuple[Any, list[list[str]]]:
    indented = "".join(f"    {line}\n" for line in body.strip().splitlines())
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM.replace("{body}", indented)],
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr.decode()
    assert process.stderr == b""
    answer, logs = json.loads(process.stdout)
    return answer, logs


def said(body: str) -> Any:
    return ran(body)[0]


def test_what_c_prints_on_either_descriptor_is_caught() -> None:
    answer, logs = ran(
        """
mark = output.mark()
c("I rkllm: one\\n")
e("two\\n")
print("three", flush=True)
answer = output.since(mark)
"""
    )
    assert answer == ["I rkllm: one", "two", "three"]
    assert logs == [["runtime", "info", line] for line in answer]


def test_lines_belong_to_the_call_that_printed_them() -> None:
    answer = said(
        """
first = output.mark()
c("of the first\\n")
of_first = output.since(first)
second = output.mark()
nothing = output.since(second)
c("of the second\\n")
answer = [of_first, nothing, output.since(second), output.since(first)]
"""
    )
    assert answer == [["of the first"], [], ["of the second"], ["of the first", "of the second"]]


def test_what_was_printed_between_two_calls_belongs_to_none() -> None:
    """An abort on the event loop may print; the next call's error must not carry that."""
    answer, logs = ran(
        """
c("between, not flushed")
mark = output.mark()
c("of the call\\n")
answer = output.since(mark)
"""
    )
    assert answer == ["of the call"]
    assert [line for _, _, line in logs] == ["between, not flushed", "of the call"]


def test_a_partial_line_is_flushed_at_the_end_of_the_call() -> None:
    assert said(
        """
mark = output.mark()
c("no newline")
first = output.since(mark)
c(" here either")
answer = [first, output.since(mark)]
"""
    ) == [["no newline"], ["no newline", " here either"]]


def test_a_line_in_pieces_is_one_line() -> None:
    assert said(
        """
mark = output.mark()
for piece in ("I rkl", "lm: in ", "pieces\\nand", " more\\n"):
    e(piece)
    output._read()
answer = output.since(mark)
"""
    ) == ["I rkllm: in pieces", "and more"]


def test_c_does_not_hold_lines_back() -> None:
    """A pipe is fully buffered by default; a line must be seen without a flush."""
    assert (
        said(
            """
c("a line\\n")
answer = os.read(output._reader, 100).decode()
"""
        )
        == "a line\n"
    )


def test_a_long_line_is_cut() -> None:
    answer = said(
        """
mark = output.mark()
e("x" * 3000 + "\\nshort\\n")
answer = output.since(mark)
"""
    )
    assert answer == ["x" * 1000, "short"]


def test_a_long_line_without_an_end_is_not_kept() -> None:
    length, rest = said(
        """
mark = output.mark()
for _ in range(20):
    e("x" * 10_000)
    output._read()
answer = [sum(map(len, output.since(mark))), len(output._rest)]
"""
    )
    assert length <= 20 * 1000
    assert rest == 0


def test_one_look_is_bounded() -> None:
    """A runtime that never stops printing must not hold the event loop, nor the end of its call, for ever."""
    reads, finished = said(
        """
reads = []
real = os.readv
def endless(descriptor, buffers):
    reads.append(len(buffers[0]))
    buffers[0][:16] = b"again and again\\n"
    return 16
os.readv = endless
output.since(output.mark())
of_a_call = len(reads)
output._read(at_most=1)
os.readv = real
answer = [of_a_call, len(reads) - of_a_call]
"""
    )
    assert reads <= 2 * 64
    assert finished == 1


def test_only_the_last_lines_are_kept() -> None:
    answer, logs = ran(
        """
mark = output.mark()
for number in range(500):
    e(f"{number}\\n")
answer = output.since(mark)
"""
    )
    assert answer == [str(number) for number in range(300, 500)]
    assert len(logs) == 500, "the log has them all"


def test_bytes_that_are_no_utf8() -> None:
    printed = [b"a\xffb", "ü€😀".encode(), b"\xe2\x82", b"carriage\r", b"x" * 999 + "ä".encode()]
    lines = ["a\ufffdb", "ü€😀", "\ufffd", "carriage", "x" * 999 + "\ufffd"]
    assert said(f"mark = output.mark()\ne(b'\\n'.join({printed}) + b'\\n')\nanswer = output.since(mark)") == lines


def test_blank_lines_are_nothing() -> None:
    assert ran("mark = output.mark()\ne('\\n \\n\\r\\n')\nanswer = output.since(mark)") == ([], [])


def test_the_vendors_prefix_is_the_level() -> None:
    levels = {
        "E rkllm: bad": "error",
        "E RKNN: [1] bad": "error",
        "W rkllm: hm": "warning",
        "I rkllm: fine": "info",
        "Everything is fine": "info",
        "E": "info",
    }
    logs = ran(f"for line in {list(levels)}:\n    e(line + '\\n')\noutput._read()")[1]
    assert {line: level for _, level, line in logs} == levels


def test_what_arrives_is_logged_as_it_arrives() -> None:
    answer, logs = ran(
        """
async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.watch)
        for number in range(3):
            e(f"{number}\\n")
            with trio.fail_after(120):
                while len(logs) <= number:
                    await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
trio.run(main)
"""
    )
    assert [line for _, _, line in logs] == ["0", "1", "2"]
    assert answer is None


def test_a_runtime_may_print_more_than_a_pipe_holds_while_the_loop_is_in_a_call() -> None:
    """The loop would wait for ever: for a lock of C's, which a thread holds that waits for a reader."""
    answer, logs = ran(
        """
import threading, trio.testing
async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.watch)
        await trio.testing.wait_all_tasks_blocked()
        printer = threading.Thread(target=lambda: [c("x" * 999 + "\\n") for _ in range(200)], daemon=True)
        printer.start()
        printer.join(120)
        nursery.cancel_scope.cancel()
    return printer.is_alive()
answer = trio.run(main)
output.since(0)
"""
    )
    assert answer is False
    assert len(logs) == 200


def test_the_watch_and_the_worker_share_without_losing_or_doubling() -> None:
    answer, logs = ran(
        """
async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.watch)
        result = await trio.to_thread.run_sync(work)
        nursery.cancel_scope.cancel()
    return result
def work():
    mark = output.mark()
    for number in range(100):
        e(f"{number}\\n")
    return output.since(mark)
answer = trio.run(main)
"""
    )
    assert answer == [str(number) for number in range(100)]
    assert [line for _, _, line in logs] == answer


def test_c_that_closes_its_descriptors_ends_the_watch() -> None:
    assert said(
        """
e("last\\n")
os.close(1)
os.close(2)
async def main():
    with trio.fail_after(120):
        await output.watch()
trio.run(main)
mark = output.mark()
answer = [output.since(0), output.since(mark)]
"""
    ) == [["last"], []]


def test_what_the_descriptors_were_is_given_back() -> None:
    assert said(
        """
os.write(stderr, b"")
answer = [os.get_inheritable(stdout), os.get_inheritable(stderr), os.get_inheritable(output._reader)]
"""
    ) == [False, False, False]


def test_before_the_capture_there_is_nothing() -> None:
    output = RuntimeOutput()
    assert output.since(output.mark()) == []


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_a_daemon_that_was_started_without_a_place_to_print_to_serves(tmp_path: Path, closed: str) -> None:
    daemon = Daemon(
        tmp_path, launcher=["sh", "-c", f'exec "$@" {closed}', "sh"], scenario="print.stderr=words;print_at=0"
    )
    try:
        until("the socket", lambda: daemon.process.poll() is not None or Path(daemon.path).exists())
        daemon.load()
        with daemon.connect() as wire:
            assert wire.ask("rkllm.run", {"prompt": "Hi"})["result"]["text"] == "[user] Hi"
    finally:
        assert daemon.stop() == 0
