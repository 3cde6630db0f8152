"""Python's state of a foreign thread: from keep to release it is one and the same, before and after it is not."""

from __future__ import annotations

import ctypes
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rkllmd.abi.thread_state import KeptThreadState

SOURCE = r"""
#include <pthread.h>
typedef struct { void (*call)(int); int count; } Work;
static void *work(void *argument) {
    Work *it = argument;
    for (int i = 0; i < it->count; i++) it->call(i);
    return 0;
}
int on_its_own_thread(void (*call)(int), int count) {
    pthread_t thread;
    Work it = {call, count};
    if (pthread_create(&thread, 0, work, &it)) return -1;
    return pthread_join(thread, 0);
}
"""

OnThread = Callable[[Callable[[int], None], int], None]


@pytest.fixture(scope="session")
def on_its_own_thread(tmp_path_factory: pytest.TempPathFactory) -> OnThread:
    """Return a function that has C call ``callback`` with 0, 1, 2 ... on a thread that Python did not make."""
    directory: Path = tmp_path_factory.mktemp("thread")
    (directory / "thread.c").write_text(SOURCE)
    library = directory / "thread.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-pthread", "-o", str(library), str(directory / "thread.c")], check=True)
    callback_type = ctypes.CFUNCTYPE(None, ctypes.c_int)
    function = ctypes.CDLL(str(library)).on_its_own_thread

    def run(callback: Callable[[int], None], count: int) -> None:
        assert function(callback_type(callback), count) == 0

    return run


def test_thread_locals_live_from_keep_to_release(on_its_own_thread: OnThread) -> None:
    state, local, seen = KeptThreadState(), threading.local(), list[int]()

    def callback(number: int) -> None:
        seen.append(getattr(local, "last", -1))
        local.last = number
        if number == 2:
            state.keep()
        if number == 5:
            state.release()

    on_its_own_thread(callback, 8)
    # Python makes the state anew for callbacks 0, 1, 2, 6 and 7.
    assert seen == [-1, -1, -1, 2, 3, 4, -1, -1]


def test_keep_and_release_may_be_repeated(on_its_own_thread: OnThread) -> None:
    state = KeptThreadState()
    kept: list[bool] = []

    def callback(number: int) -> None:
        for _ in range(3):
            state.release() if number % 2 else state.keep()
        kept.append(state.is_kept)

    on_its_own_thread(callback, 4)
    assert kept == [True, False, True, False]


def test_another_thread_can_not_release_it(on_its_own_thread: OnThread) -> None:
    state = KeptThreadState()
    on_its_own_thread(lambda _number: state.keep(), 1)
    on_its_own_thread(lambda _number: state.release(), 1)
    state.release()
    # The first thread has ended with its state: nothing can be done, and nothing was.
    assert state.is_kept


def test_other_threads_get_on_between_two_callbacks(on_its_own_thread: OnThread) -> None:
    """The state is kept, the GIL is not: a callback that waits for the main program's threads must not hang."""
    state, turn, answer = KeptThreadState(), threading.Event(), threading.Event()

    def other() -> None:
        turn.wait()
        answer.set()

    thread = threading.Thread(target=other)
    thread.start()

    def callback(number: int) -> None:
        state.keep()
        turn.set()
        assert answer.wait(timeout=300)
        if number == 1:
            state.release()

    on_its_own_thread(callback, 2)
    thread.join()
