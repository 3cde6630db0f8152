"""What means that no file can be opened any more, and what is said then."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from rkllmd.errors import QueueFull
from rkllmd.open_files import is_shortage, raise_shortage, sentence, shortage, without_waiting
from tests.lease import held

PROCESS = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
MACHINE = OSError(errno.ENFILE, os.strerror(errno.ENFILE))
LOADER = OSError(f"/lib/librkllmrt.so: cannot open shared object file: {os.strerror(errno.EMFILE)}")
MEMORY = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PROCESS, True),
        (MACHINE, True),
        (LOADER, True),
        (MEMORY, False),
        (OSError("something else"), False),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.EMFILE)), False),
        (ValueError(os.strerror(errno.EMFILE)), False),
    ],
)
def test_what_is_a_shortage(error: Exception, expected: bool) -> None:
    assert is_shortage(error) is expected


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (None, f"The daemon has as many files open as it may ({LIMIT})"),
        (PROCESS, f"The daemon has as many files open as it may ({LIMIT})"),
        (LOADER, f"The daemon has as many files open as it may ({LIMIT})"),
        (MACHINE, "The machine has as many files open as it may"),
        (MEMORY, "The kernel has no memory for another connection (Cannot allocate memory)"),
    ],
)
def test_the_sentence_says_what_there_is_too_much_of(error: OSError | None, words: str) -> None:
    assert sentence(error).startswith(f"{words}: ")


def test_the_client_is_told_the_limit_and_when_to_come_again() -> None:
    error = shortage()
    assert error.data == {"queued": LIMIT, "limit": LIMIT, "retry_after_ms": 1000}
    assert error.message == sentence()
    assert shortage(MACHINE).message == sentence(MACHINE)


def test_only_a_shortage_is_raised() -> None:
    with pytest.raises(QueueFull, match="sysctl"):
        raise_shortage(MACHINE)
    raise_shortage(MEMORY)
    raise_shortage(ValueError("x"))


def test_a_file_that_is_held_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    with open(path, "rb", opener=without_waiting) as file:
        assert file.read() == b"abc"
        assert not os.get_inheritable(file.fileno())
    with held(path), pytest.raises(BlockingIOError):
        without_waiting(str(path), os.O_RDONLY)
    os.mkfifo(tmp_path / "pipe")
    os.close(without_waiting(str(tmp_path / "pipe"), os.O_RDONLY))
