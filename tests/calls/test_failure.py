"""Which error a client gets for an exception, and what of it is in the log alone."""

from __future__ import annotations

import errno
import os

import pytest
from structlog.testing import capture_logs

from rkllmd.calls.failure import as_error
from rkllmd.errors import InternalError, InvalidParams, OutOfMemory, QueueFull, RuntimeFailure


def test_an_error_of_ours_is_what_the_client_gets() -> None:
    known = InvalidParams("no")
    with capture_logs() as logs:
        assert as_error(known, "x.y") is known
    assert logs == []


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), OSError(errno.ENOENT, "secret"), SystemExit("secret")])
def test_anything_else_is_a_fault_whose_details_are_in_the_log(error: BaseException) -> None:
    with capture_logs() as logs:
        told = as_error(error, "x.y")
    assert isinstance(told, InternalError)
    assert told.message == "The daemon failed in x.y: its log has the details."
    assert [(entry["event"], entry["method"], entry["exc_info"]) for entry in logs] == [
        ("internal_error", "x.y", error)
    ]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EMFILE, "x"), OSError(errno.ENFILE, "x"), OSError(f"/lib/a.so: {os.strerror(errno.EMFILE)}")],
    ids=["process", "machine", "loader"],
)
def test_a_lack_of_descriptors_is_no_fault_of_ours(error: OSError) -> None:
    with capture_logs() as logs:
        told = as_error(error, "x.y")
    assert isinstance(told, QueueFull)
    assert told.data["retry_after_ms"] > 0
    assert [entry["event"] for entry in logs] == ["no_file_descriptor"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "x"),
        OSError(errno.ENOSPC, "a memfd"),
        RuntimeError("can't allocate read lock"),
        RuntimeError("can't start new thread"),
    ],
    ids=repr,
)
def test_a_lack_of_memory_is_no_fault_of_ours(error: Exception) -> None:
    with capture_logs() as logs:
        told = as_error(error, "x.y")
    assert isinstance(told, OutOfMemory)
    assert [entry["event"] for entry in logs] == ["no_memory"]


def test_a_disk_that_fails_is_no_fault_of_ours() -> None:
    with capture_logs() as logs:
        told = as_error(OSError(errno.EIO, os.strerror(errno.EIO), "/models/a.rkllm"), "x.y")
    assert isinstance(told, RuntimeFailure)
    assert "Input/output error" in told.message
    assert [(entry["event"], entry["path"]) for entry in logs] == [("file_not_readable", "/models/a.rkllm")]


def test_other_runtime_errors_are_faults() -> None:
    with capture_logs():
        assert isinstance(as_error(RuntimeError("dictionary changed size during iteration"), "x.y"), InternalError)


def test_a_file_that_is_held_is_no_fault_of_ours() -> None:
    with capture_logs() as logs:
        told = as_error(BlockingIOError(errno.EWOULDBLOCK, "x", "/models/a.gguf"), "x.y")
    assert isinstance(told, RuntimeFailure)
    assert "has a lease" in told.message
    assert [(entry["event"], entry["path"]) for entry in logs] == [("file_held", "/models/a.gguf")]
