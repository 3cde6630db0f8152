"""What is reported of single versions: limits, silent failures, instructions that a processor lacks."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.language import runtime_reports
from rkllmd.machine.platform import Platform
from tests.daemon import Daemon
from tests.wire_connection import kind

REPORTED_OF_1_3_1 = "prompt_limit=1;uncounted_tokens=1;tool_json=1;context_step=32;context_limit=16384"
RK3588 = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimddp\n"


def machine(root: Path, cpuinfo: str) -> Platform:
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(cpuinfo)
    return Platform(root)


# ---- SVE ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cpuinfo", "soc", "warned"),
    [
        (RK3588, "rk3588", True),
        (RK3588, None, True),
        (RK3588.replace("asimddp", "asimddp sve"), None, False),
        (RK3588.replace("asimddp", "asimddp svebf16"), None, True),
        ("flags : fpu sse2\n", None, False),
        ("flags : fpu sse2\n", "rk3588", True),  # somebody says that it is one
        ("", None, False),
    ],
)
def test_1_3_0_on_a_processor_without_sve(tmp_path: Path, cpuinfo: str, soc: str | None, warned: bool) -> None:
    platform = machine(tmp_path, cpuinfo)
    found = runtime_reports.problems("1.3.0", platform, soc)
    assert len(found) == warned
    assert all("SVE" in problem and "SIGILL" in problem and "1.3.1" in problem for problem in found)
    for version in ("1.2.3", "1.3.1", None):
        assert runtime_reports.problems(version, platform, soc) == []


def test_the_warning_comes_before_the_library_runs(start: Callable[..., Daemon]) -> None:
    daemon = start("--soc", "rk3588", version="1.3.0")
    with daemon.connect() as wire:
        runtime = wire.ask("server.status")["result"]["versions"]["runtime"]
    (told,) = daemon.events("runtime_problem")
    assert runtime["problems"] == [told["problem"]]
    assert "RKLLM 1.3.0" in told["problem"]
    assert "rk3588" in told["problem"]
    other = start("--soc", "rk3588", version="1.3.1")
    with other.connect() as wire:
        assert wire.ask("server.status")["result"]["versions"]["runtime"]["problems"] == []
    assert other.events("runtime_problem") == []


@pytest.mark.parametrize("function", ["rkllm_createDefaultParam", "rkllm_init"])
def test_an_illegal_instruction_is_named_in_the_log(tmp_path: Path, function: str) -> None:
    """The daemon dies of it; its log says of what, in which call, and what is known about this version."""
    at_start = function == "rkllm_createDefaultParam"
    scenario = f"fault.{function}=illegal" if at_start else "init=illegal"
    daemon = Daemon(tmp_path, "--soc", "rk3588", version="1.3.0", scenario=scenario)
    try:
        if not at_start:
            daemon.wait_ready()
            with daemon.connect() as wire:
                wire.request("rkllm.init", {"model_path": str(daemon.model)})
                assert wire.receive() is None
        assert daemon.wait_end() == -signal.SIGILL
    finally:
        daemon.stop()
    log = daemon.log()
    assert "Illegal instruction" in log
    assert f"in {'__init__' if at_start else 'init'}\n" in log
    assert "SVE" in daemon.events("runtime_problem")[0]["problem"]


# ---- max_context_len of 1.3.1 ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def board(start_for_module: Callable[..., Daemon]) -> Daemon:
    """Return a daemon on a simulator that does what was reported of 1.3.1."""
    return start_for_module(version="1.3.1", scenario=REPORTED_OF_1_3_1)


def init(daemon: Daemon, **fields: Any) -> dict[str, Any]:
    with daemon.connect() as wire:
        return wire.ask("rkllm.init", {"model_path": str(daemon.model), "replace": True, **fields})


@pytest.mark.parametrize(
    ("tokens", "keyword", "limit"),
    [(1000, "multipleOf", 32), (33, "multipleOf", 32), (16385, "maximum", 16384), (32768, "maximum", 16384)],
)
def test_a_context_that_1_3_1_does_not_take(board: Daemon, tokens: int, keyword: str, limit: int) -> None:
    before = board.calls("rkllm_init")
    answer = init(board, max_context_len=tokens)
    data = answer["error"]["data"]
    assert (answer["error"]["code"], data["path"], data["keyword"], data["limit"]) == (
        -32602,
        "$.max_context_len",
        keyword,
        limit,
    )
    assert board.calls("rkllm_init") == before
    assert str(limit) in answer["error"]["message"]


@pytest.mark.parametrize("tokens", [32, 1024, 16384])
def test_a_context_that_1_3_1_takes(board: Daemon, tokens: int) -> None:
    assert kind(init(board, max_context_len=tokens)) is None


@pytest.mark.parametrize("version", ["1.2.3", "1.3.0"])
def test_other_versions_take_any_context(start: Callable[..., Daemon], version: str) -> None:
    assert kind(init(start(version=version), max_context_len=1000)) is None


# ---- runs of 1.3.1 --------------------------------------------------------------------------------------------------


def test_a_prompt_longer_than_the_window_is_explained(board: Daemon) -> None:
    """C returns -1 without a callback and without a word."""
    init(board, max_context_len=64)
    with board.connect() as wire:
        error = wire.ask("rkllm.run", {"prompt": "x" * 65})["error"]
        assert (error["data"]["kind"], error["data"]["status"], error["data"]["log"]) == ("RuntimeError", -1, [])
        assert "longer than max_context_len (64 tokens)" in error["message"]
        assert wire.ask("rkllm.run", {"prompt": "x" * 64})["result"]["text"] == f"[user] {'x' * 64}"


def test_a_result_of_a_function_is_json(board: Daemon) -> None:
    init(board)
    with board.connect() as wire:
        error = wire.ask("rkllm.run", {"prompt": "sunny, 21 degrees", "role": "tool"})["error"]
        assert 'the input of role "tool" is not JSON' in error["message"]
        assert "text" in wire.ask("rkllm.run", {"prompt": '{"temperature": 21}', "role": "tool"})["result"]


def test_the_tokens_of_a_run_are_counted_by_us(board: Daemon) -> None:
    """``perf.generate_tokens`` is the runtime's own figure, one too few; how a run ended goes by what came."""
    init(board)
    with board.connect() as wire:
        wire.request("rkllm.run_async", {"prompt": "Hi", "max_new_tokens": 3})
        *partials, final = wire.until_final(1)
    assert len(partials) == 3
    assert (final["result"]["finish_reason"], final["result"]["perf"]["generate_tokens"]) == ("length", 2)


def test_an_abort_leaves_the_next_run_clean(start: Callable[..., Daemon]) -> None:
    daemon = start(version="1.3.1", scenario=f"{REPORTED_OF_1_3_1};text=ab;repeat=1000000;pace_us=1000")
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire:
        for call_id in (1, 2):
            wire.request("rkllm.run_async", {"prompt": "Hi"}, call_id)
            assert wire.receive()["result"]["text"] == "ab"
            wire.request("server.cancel", {"id": call_id}, "cancel")
            final = wire.final(call_id)["result"]
            assert (final["finish_reason"], final["_callback_state"]) == ("abort", 2)
