"""``rkllmd chat``: on a terminal (a pty), as a person uses it, and in a pipe, as a script does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.cli.commands import run
from tests.cli.terminal import CTRL_C, CTRL_D, Terminal
from tests.client.played import again
from tests.daemon import Daemon


@pytest.fixture
def sit_at(start: Callable[..., Daemon]) -> Iterator[Callable[..., Terminal]]:
    """Return a function that sits a person down before ``rkllmd chat``."""
    terminals: list[Terminal] = []

    def sit(daemon: Daemon, *arguments: str) -> Terminal:
        terminals.append(Terminal("chat", "--socket", daemon.path, *arguments))
        return terminals[-1]

    yield sit
    for terminal in terminals:
        terminal.close()


def talk(daemon: Daemon, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Send lines through a pipe."""
    return run("chat", "--socket", daemon.path, *arguments, stdin=text.encode())


def kv_size(daemon: Daemon) -> int:
    with daemon.connect() as wire:
        return int(wire.ask("rkllm.get_kv_cache_size")["result"]["cache_sizes"][0])


def test_a_conversation(start: Callable[..., Daemon], sit_at: Callable[..., Terminal]) -> None:
    daemon = start()
    daemon.load()
    person = sit_at(daemon)
    greeting = person.expect("> ")
    assert greeting.startswith("Talking with model.rkllm.")
    for key in ("Ctrl-C", "/new", "Ctrl-D"):
        assert key in greeting
    person.type("Grüße\n")
    assert person.expect("> ").splitlines()[-1] == "[user] Grüße"
    first = kv_size(daemon)
    person.type("And now?\n")
    person.expect("[user] And now?\n")
    person.expect("> ")
    second = kv_size(daemon)
    tokens = (len("[user] And now?") + 1) // 2  # of two bytes
    assert second == first + len("And now?") + tokens, "what was said before is kept"
    person.type("/new\n")
    person.expect("> ")
    assert kv_size(daemon) == 0
    person.type("   \n")
    person.expect("> ")
    assert kv_size(daemon) == 0, "an empty line asks nothing"
    person.type(CTRL_D)
    assert person.end() == 0
    assert "Traceback" not in person.screen


def test_the_answer_comes_token_by_token(start: Callable[..., Daemon], sit_at: Callable[..., Terminal]) -> None:
    daemon = start(scenario="text=one two three;tokens=words;repeat=1000000;pace_us=2000")
    daemon.load(max_new_tokens=0)
    person = sit_at(daemon)
    person.expect("> ")
    person.type("count\n")
    person.expect("one two three")  # the run never ends by itself


def test_ctrl_c_stops_the_answer_and_not_the_program(
    start: Callable[..., Daemon], sit_at: Callable[..., Terminal]
) -> None:
    daemon = start(scenario="text=blah ;tokens=words;repeat=1000000;pace_us=2000")
    daemon.load(max_new_tokens=0)
    person = sit_at(daemon)
    person.expect("> ")
    for _ in range(3):
        person.type("talk\n")
        person.expect("blah blah blah")
        person.type(CTRL_C)
        person.expect("[stopped]\n")
        person.expect("> ")
    person.type("half a line")
    person.expect("half a line")
    person.wait_asleep()
    person.type(CTRL_C)
    person.expect("> ")
    assert person.process.poll() is None, "Ctrl-C at the prompt only gives a new prompt"
    person.type(CTRL_D)
    assert person.end() == 0
    assert "Traceback" not in person.screen
    assert daemon.calls("rkllm_abort") >= 3


def test_a_second_ctrl_c_leaves_when_the_answer_does_not_stop(
    start: Callable[..., Daemon], sit_at: Callable[..., Terminal]
) -> None:
    """The vendor's runtime can't be interrupted before the first token, which may take minutes."""
    daemon = start(scenario="prefill_hold=1")
    daemon.load()
    person = sit_at(daemon)
    person.expect("> ")
    person.type("a very long prompt\n")
    daemon.wait_enter("rkllm_run_async")
    person.type(CTRL_C)
    daemon.wait_enter("rkllm_abort")
    person.type(CTRL_C)
    assert person.end() == 130
    daemon.let_go()
    assert "Traceback" not in person.screen


def test_what_else_there_is_to_say_stands_behind_the_answer(
    start: Callable[..., Daemon], sit_at: Callable[..., Terminal]
) -> None:
    daemon = start()
    daemon.load(max_new_tokens=3)
    person = sit_at(daemon)
    person.expect("> ")
    person.type("Hello\n")
    person.expect("[user] [cut: the model's max_new_tokens is reached]\n")
    with daemon.connect() as wire:
        wire.ask("rkllm.run", {"prompt": "x", "keep_history": 1})
    person.expect("> ")
    person.type("Hello\n")
    person.expect("it has forgotten what was said before]\n")


def test_thinking_is_asked_for(start: Callable[..., Daemon], sit_at: Callable[..., Terminal]) -> None:
    daemon = start()
    daemon.load()
    person = sit_at(daemon, "--thinking")
    person.expect("> ")
    person.type("Hello\n")
    person.expect("<think>hm</think>[user] Hello\n")


def test_an_error_does_not_end_the_conversation(start: Callable[..., Daemon], sit_at: Callable[..., Terminal]) -> None:
    daemon = start(changing=True)
    daemon.load()
    person = sit_at(daemon)
    person.expect("> ")
    daemon.play(text="one two three", tokens="words", run="error@2")
    person.type("Hello\n")
    shown = person.expect("> ")
    assert "one two \n[rkllm_run_async reported RKLLM_RUN_ERROR" in shown
    daemon.play(return__rkllm_clear_kv_cache=3)
    person.type("/new\n")
    assert "[rkllm_clear_kv_cache failed with status 3.]" in person.expect("> ")
    daemon.play()
    person.type("Hello\n")
    person.expect("[user] Hello\n")


def test_a_daemon_that_goes_is_one_sentence(start: Callable[..., Daemon], sit_at: Callable[..., Terminal]) -> None:
    daemon = start(scenario="text=blah ;tokens=words;repeat=1000000;pace_us=2000")
    daemon.load(max_new_tokens=0)
    person = sit_at(daemon)
    person.expect("> ")
    person.type("talk\n")
    person.expect("blah blah")
    away = daemon.directory.with_name("away")
    daemon.directory.rename(away)
    daemon.directory.touch()  # below a file nobody will ever serve: no reason to wait
    daemon.process.kill()
    assert person.end() == 1
    *_, told, end = person.screen.splitlines()
    assert told == "[The daemon has gone, and the conversation with it: say it again.]"
    assert end.startswith(f"rkllmd: '{daemon.path}' can't be connected to (Not a directory)")
    assert "Traceback" not in person.screen
    daemon.directory.unlink()
    away.rename(daemon.directory)


@pytest.mark.parametrize("session", [(), ("--session", "kitchen")])
def test_a_conversation_goes_on_with_the_next_daemon(
    start: Callable[..., Daemon], sit_at: Callable[..., Terminal], session: tuple[str, ...]
) -> None:
    daemon = start()
    daemon.load()
    person = sit_at(daemon, *session)
    person.expect("> ")
    person.type("Hello\n")
    person.expect("[user] Hello\n")
    daemon.stop(signal.SIGKILL)
    again(start, daemon, scenario="text=again").load()
    person.expect("> ")
    person.type("Still there?\n")
    if not session:
        person.expect("[The daemon has gone, and the conversation with it: say it again.]")
        person.expect("> ")
        person.type("Still there?\n")
    person.expect("again\n")
    person.expect("> ")
    person.type(CTRL_D)
    assert person.end() == 0


@pytest.mark.parametrize("on_terminal", [True, False])
def test_without_a_model_one_sentence_says_what_to_do(
    start: Callable[..., Daemon], sit_at: Callable[..., Terminal], on_terminal: bool
) -> None:
    daemon = start()
    if on_terminal:
        person = sit_at(daemon)
        status, text = person.end(), person.screen
    else:
        done = talk(daemon, "Hello\n")
        assert done.stdout == ""
        status, text = done.returncode, done.stderr
    assert status == 1
    (line,) = text.splitlines()
    assert line.startswith("rkllmd: no model is loaded: ")
    assert "rkllm.init" in line
    assert "--model" in line


def test_while_a_model_loads(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="delay.rkllm_init=60000")
    with daemon.connect() as wire:
        wire.request("rkllm.init", {"model_path": str(daemon.model)})
        daemon.wait_enter("rkllm_init")
        done = talk(daemon, "Hello\n")
        assert done.returncode == 1
        assert done.stderr.startswith("rkllmd: the model is still being loaded: ")
        daemon.process.kill()


def test_of_several_models_the_first_answers_or_the_one_that_was_chosen(
    start: Callable[..., Daemon], sit_at: Callable[..., Terminal]
) -> None:
    daemon = start("--max-models", "2")
    first, second = daemon.load(), daemon.load()
    done = talk(daemon, "Hello\n")
    assert (done.stdout, done.stderr) == ("[user] Hello\n", "")
    wrong = talk(daemon, "Hello\n", "--handle", "99")
    assert wrong.stderr == (
        f"rkllmd: there is no model with handle 99; there is {first} (model.rkllm), {second} (model.rkllm).\n"
    )
    person = sit_at(daemon, "--handle", str(second))
    greeting = person.expect("> ")
    assert f"Talking with model.rkllm (--handle {second}; {first} is model.rkllm)." in greeting
    person.type("Hello\n")
    person.expect("[user] Hello\n")
    with daemon.connect() as wire:
        sizes = [
            wire.ask("rkllm.get_kv_cache_size", {"handle": handle})["result"]["cache_sizes"]
            for handle in (first, second)
        ]
    assert [size > [0] for size in sizes] == [True, True], "each has heard its own"


def test_a_command_that_there_is_not_is_no_question(
    start: Callable[..., Daemon], sit_at: Callable[..., Terminal]
) -> None:
    daemon = start()
    daemon.load()
    person = sit_at(daemon)
    person.expect("> ")
    person.type("/help\n")
    assert "/new forgets the conversation" in person.expect("> ")
    assert kv_size(daemon) == 0
    person.type("/etc/hosts: what is it?\n")
    person.expect("[user] /etc/hosts: what is it?\n")


def test_in_a_pipe_there_are_answers_and_nothing_else(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.load()
    done = talk(daemon, "Grüße\n\n/new\nAnd now?\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[user] Grüße\n[user] And now?\n"


def test_a_session_is_there_the_next_time_and_forgotten_by_new(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.load(max_new_tokens=0)
    talk(daemon, "one\n", "--session", "kitchen")
    with daemon.connect() as wire:
        wire.ask("rkllm.run", {"prompt": "of another"})
    again = talk(daemon, "two\n", "--session", "kitchen")
    assert "User: one" in again.stdout, "the conversation was told to the model again"
    talk(daemon, "/new\nthree\n", "--session", "kitchen")
    with daemon.connect() as wire:
        (session,) = wire.ask("server.sessions")["result"]["sessions"]
    assert (session["name"], session["turns"]) == ("kitchen", 1)


def test_in_a_pipe_an_error_ends_it(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="run=error;error_status=-7")
    daemon.load()
    done = talk(daemon, "Hello\nAnd now?\n")
    assert done.returncode == 1
    assert done.stderr == (
        "rkllmd: rkllm_run_async reported RKLLM_RUN_ERROR; the runtime said nothing about why. [RuntimeError]\n"
    )
    assert daemon.calls("rkllm_run_async") == 1


def test_what_a_model_says_can_do_nothing_to_a_terminal(
    start: Callable[..., Daemon], sit_at: Callable[..., Terminal]
) -> None:
    daemon = start(scenario="text=red \x1b[31m end")
    daemon.load()
    person = sit_at(daemon)
    person.expect("> ")
    person.type("Hello\n")
    assert "red \\u001b[31m end" in person.expect("> ")
    assert "\x1b[31m" not in person.screen
    assert "red \x1b[31m end" in talk(daemon, "Hello\n").stdout, "who reads a pipe has it as it is"


def test_characters_that_the_output_has_not_are_replaced(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="text=Grüße")
    daemon.load()
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "rkllmd", "chat", "--socket", daemon.path],
        input=b"Hello\n",
        capture_output=True,
        env=environ,
        timeout=300,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"Gr??e\n", b"")
