"""What is written into the crash journal is what is read from it; what is torn or too long does no harm."""

from __future__ import annotations

import os

import pytest

from rkllmd.keeper import journal


def written(*records: tuple[bytes, int, float, bool]) -> bytearray:
    """Return a journal with these records: body, state, since, whether the event loop has made the call."""
    content = bytearray(journal.SIZE)
    for number, (body, state, since, on_loop) in enumerate(records):
        at = journal.place(number)
        journal.HEAD.pack_into(content, at, since, 70 + number, on_loop, state)
        content[at + journal.HEAD.size : at + journal.HEAD.size + len(body)] = body
    return content


def body(path: str = "/m/a.rkllm", request: str = '"x"', name: str = "qwen") -> bytes:
    its_model = journal.model(3, name, path)
    return journal.body("rkllm_run", its_model, journal.asked("rkllm.run", 812, 1000, request, "j0b", runs=2))


def test_a_call_is_read_as_it_was_written() -> None:
    (call,) = journal.calls(bytes(written((body(), journal.VALID, 7.5, False))))
    assert call == {
        "since": 7.5,
        "thread": 70,
        "on_loop": False,
        "function": "rkllm_run",
        "handle": 3,
        "name": "qwen",
        "path": "/m/a.rkllm",
        "pid": 812,
        "user": 1000,
        "runs": 2,
        "method": "rkllm.run",
        "request": '"x"',
        "job": "j0b",
    }


def test_the_last_call_stands_last_and_what_has_returned_or_is_torn_is_none() -> None:
    content = written(
        (body("/b"), journal.VALID, 9.0, False),
        (body("/gone"), journal.FREE, 10.0, False),
        (body("/a"), journal.VALID, 8.0, True),
    )
    assert [call["path"] for call in journal.calls(bytes(content))] == ["/a", "/b"]
    assert journal.calls(b"") == []
    assert journal.calls(bytes(content[: journal.place(2)])) != []


def test_nobody_is_nobody() -> None:
    content = written(
        (journal.body("f", journal.model(0, "", ""), journal.asked("", None, None, "", "")), 1, 1.0, True)
    )
    (call,) = journal.calls(bytes(content))
    assert (call["handle"], call["pid"], call["user"], call["job"]) == (0, -1, -1, "")


def test_what_is_too_long_is_cut_and_the_rest_is_read_all_the_same() -> None:
    """Of a path the end is kept; a letter that was cut in two, or no UTF-8 at all, is replaced."""
    content = written((body("/" + "é" * 400 + "/end.rkllm", '"' + "y" * 500, "n" * 500), journal.VALID, 1.0, False))
    (call,) = journal.calls(bytes(content))
    path, request = str(call["path"]), str(call["request"])
    assert path.endswith("é/end.rkllm")
    assert len(path.encode()) <= 257
    assert (len(request), len(str(call["name"])), call["job"]) == (64, 64, "j0b")
    content = written((body("/\udcff.rkllm"), journal.VALID, 1.0, False))
    assert journal.calls(bytes(content))[0]["path"] == "/�.rkllm"


def test_the_longest_record_has_room() -> None:
    long = "x" * 1000
    longest = journal.body(long, journal.model(2**53, long, long), journal.asked(long, 2**31, 2**31, long, long))
    assert journal.HEAD.size + len(longest) <= journal.RECORD_BYTES


@pytest.mark.parametrize("sizes", [[5], [0], [journal.OUTPUT_BYTES], [journal.OUTPUT_BYTES + 7], [30_000] * 7, [1] * 9])
def test_of_what_is_printed_the_end_is_there(sizes: list[int]) -> None:
    content, whole = bytearray(journal.SIZE), b""
    for number, size in enumerate(sizes):
        data = bytes((number * 31 + index) % 251 for index in range(size))
        for at, piece in journal.pieces(len(whole), data):
            content[at : at + len(piece)] = piece
        whole += data
    journal.NUMBER.pack_into(content, journal.PRINTED, len(whole))
    journal.NUMBER.pack_into(content, journal.LOGGED, max(0, len(whole) - 3))
    found, unlogged = journal.output(bytes(content))
    assert found == whole[-journal.OUTPUT_BYTES :]
    assert unlogged == min(3, len(whole))
    assert journal.output(b"") == (b"", 0)


@pytest.mark.parametrize(
    ("records", "is_long"),
    [
        ([], False),
        ([(body(), journal.VALID, 1.0, False)], True),
        ([(body(), journal.FREE, 1.0, False)], False),
        ([(body(), journal.VALID, 1.0, True)], False),
        ([(body(), journal.VALID, 1.0, False), (body(), journal.VALID, 2.0, True)], False),
    ],
)
def test_a_loop_in_a_call_of_its_own_gets_no_more_time(
    records: list[tuple[bytes, int, float, bool]], is_long: bool
) -> None:
    descriptor = journal.make()
    try:
        os.pwrite(descriptor, written(*records), 0)
        assert journal.is_in_long_call(descriptor) is is_long
        assert journal.beats(descriptor) == 0
    finally:
        os.close(descriptor)
