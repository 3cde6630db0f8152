"""The simulator does what README.md says: other tests' scenarios rest on it."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm_common import (
    LLMGetEmbedCallback,
    LLMResultCallback,
    LLMTokenizerCallback,
    RKLLMCrossAttnParam,
    RKLLMLoraAdapter,
    RKLLMLoraParam,
    RKLLMPromptCacheParam,
)
from tests.simulator.build import build
from tests.simulator.player import ERROR, FINISH, NORMAL, WAITING, Event, Model, Simulator

ROOT = Path(__file__).parents[2]
VERSIONS = {"1.2": "1.2.3", "1.3": "1.3.0", "1.3.1": "1.3.1"}
Script = Callable[[str], None]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("simulator")
    return {layout: build(layout, version, directory) for layout, version in VERSIONS.items()}


@pytest.fixture(params=VERSIONS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def library(layout: str, built: dict[str, Path], tmp_path: Path) -> Path:
    """Return a copy of its own, so that its counters start at zero."""
    return Path(shutil.copy(built[layout], tmp_path))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return lambda text: monkeypatch.setenv("RKLLM_SIMULATOR", text)


@pytest.fixture
def simulator(layout: str, library: Path, script: Script) -> Simulator:
    script("")
    return Simulator(layout, library)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.rkllm"
    path.write_bytes(b"SIMMODEL")
    return path


@pytest.fixture
def load(simulator: Simulator, model_file: Path, script: Script) -> Callable[..., Model]:
    def load_with(text: str = "", **options: object) -> Model:
        script(text)
        return simulator.load(model_file, **options)  # type: ignore[arg-type]

    return load_with


def stop_at(token: int) -> Callable[[Event], int]:
    return lambda event: int(event.state == NORMAL and event.token_id == 100 + token)


# ---- the binary -----------------------------------------------------------------------------------------------------


def test_binary_names_its_version_and_a_decoy(tmp_path: Path) -> None:
    content = build("1.2", "9.9.9", tmp_path).read_bytes()
    assert b"RKLLM SDK (version: 9.9.9 | target: Linux | build: simulator)" in content
    assert b"rknn llm lib version: 2.3.3b0 (" in content


def test_build_is_cached_by_content(tmp_path: Path) -> None:
    first = build("1.3", "1.3.0", tmp_path)
    stamp = first.stat().st_mtime_ns
    assert build("1.3", "1.3.0", tmp_path).stat().st_mtime_ns == stamp
    assert build("1.2", "1.3.0", tmp_path) != first
    assert sorted(path.name for path in first.parent.iterdir()) == ["librkllmrt.so"]


def test_build_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"1\.1"):
        build("1.1", "1.1.4", tmp_path)
    with pytest.raises(ValueError, match="characters"):
        build("1.3", "../1", tmp_path)


# ---- scenario -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "txet=a",
        "text",
        "pace_us=fast",
        "pace_us=-1",
        "stamp=2",
        "utf8=",
        "init=explode",
        "init=fail@x",
        "init=error",
        "run=null_handle",
        r"text=\q",
        r"text=\x00",
        "delay.rkllm_sleep=1",
        "hold.rkllm_sleep=1",
        "hold.rkllm_run=2",
        "fault.rkllm_init=hang",
        "return.rkllm_createDefaultParam=1",
        "print_at=rkllm_nothing",
        "pace_us=1;=2",
        "@/nonexistent/scenario",
    ],
)
def test_a_mistake_makes_init_fail(load: Callable[..., Model], text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert load(text).status == -1
    assert "SIMULATOR: scenario: " in capfd.readouterr().err


def test_a_file_is_read_by_every_call(load: Callable[..., Model], tmp_path: Path) -> None:
    path = tmp_path / "scenario"
    path.write_text("# a comment; with a semicolon\ntext=one; two\n\ntokens=words\n")
    model = load(f"@{path}")
    assert [event.text for event in model.play()[1].events] == [b"one; ", b"two", None]
    path.write_text("text=three\n")
    assert model.play()[1].output == b"three"
    path.write_text("txet=three\n")
    assert model.play()[0] == -1
    path.write_text("return.rkllm_load_lora=-7\n")
    assert model.load_lora(ctypes.byref(RKLLMLoraAdapter())) == -7


def test_escapes(load: Callable[..., Model]) -> None:
    assert load(r"text=a\n\xff\\\;\t;tokens=3").play()[1].output == b"a\n\xff\\;\t"


# ---- text -----------------------------------------------------------------------------------------------------------


def test_default_is_the_echo(load: Callable[..., Model]) -> None:
    model = load()
    status, recorder = model.play()
    assert (status, recorder.output) == (0, b"[user] hello")
    assert recorder.states == [NORMAL] * 6 + [FINISH]
    assert [event.token_id for event in recorder.events[:-1]] == list(range(100, 106))
    end = recorder.events[-1]
    assert (end.text, end.prefill_tokens, end.generate_tokens) == (None, 5, 6)
    assert model.play(model.input(b"hi", role=b"system", enable_thinking=True))[1].output == (
        b"<think>hm</think>[system] hi"
    )


def test_split_characters_wait_until_they_are_whole(load: Callable[..., Model]) -> None:
    recorder = load("text=a\u20acb\u00e9;tokens=2").play()[1]
    assert [(event.state, event.text) for event in recorder.events] == [
        (NORMAL, b"a"),  # a e2
        (NORMAL, "\u20ac".encode()),  # 82 ac
        (NORMAL, b"b"),  # 62 c3
        (NORMAL, "\u00e9".encode()),  # a9
        (FINISH, None),
    ]
    recorder = load("text=\u20ac;tokens=1").play()[1]
    assert [(event.state, event.text) for event in recorder.events] == [
        (WAITING, None),
        (WAITING, None),
        (NORMAL, "\u20ac".encode()),
        (FINISH, None),
    ]
    assert load("text=\u20ac;tokens=1;waiting_text=empty;finish_text=empty").play()[1].events[0].text == b""


def test_raw_delivers_bytes_as_cut(load: Callable[..., Model]) -> None:
    recorder = load("text=a\u20ac;tokens=2;utf8=raw").play()[1]
    assert [event.text for event in recorder.events] == [b"a\xe2", b"\x82\xac", None]


def test_stray_bytes_are_not_held_back(load: Callable[..., Model]) -> None:
    recorder = load(r"text=\xff\x80a\xe2\x28\xe2\x82;tokens=1").play()[1]
    assert recorder.output == b"\xff\x80a\xe2\x28\xe2\x82"
    assert recorder.states[:3] == [NORMAL] * 3


def test_blank_callbacks(load: Callable[..., Model]) -> None:
    recorder = load("text=abcd;null_text_at=0;empty_text_at=1").play()[1]
    assert [event.text for event in recorder.events] == [None, b"ab", b"", b"cd", None]
    assert recorder.states == [NORMAL] * 4 + [FINISH]


def test_repeat_and_max_new_tokens(load: Callable[..., Model], simulator: Simulator) -> None:
    recorder = load("text=ab;repeat=1000000", max_new_tokens=1000).play()[1]
    assert (len(recorder.events), recorder.output) == (1001, b"ab" * 1000)
    if simulator.is_1_3:
        model = load("text=ab;repeat=5")
        assert model.play(infer=model.infer(max_new_tokens=3))[1].output == b"ababab"


def test_stamp_is_the_callbacks_time(load: Callable[..., Model]) -> None:
    before = time.monotonic_ns()
    recorder = load("text=x;repeat=10;stamp=1").play()[1]
    stamps = list(map(int, recorder.output.split()))
    assert len(stamps) == 10
    assert stamps == sorted(stamps)
    assert before <= stamps[0] <= stamps[-1] <= time.monotonic_ns()


def test_perf_can_be_zero(load: Callable[..., Model]) -> None:
    end = load("perf_zero=1").play()[1].events[-1]
    assert (end.prefill_tokens, end.generate_tokens) == (0, 0)


def test_a_million_tokens(load: Callable[..., Model], tmp_path: Path) -> None:
    source, library = tmp_path / "count.c", tmp_path / "count.so"
    source.write_text(
        "int counted; int count(void *r, void *u, int s) { (void)r, (void)u, (void)s; counted++; return 0; }"
    )
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    counter = ctypes.CDLL(str(library))
    model = load("text=ab;repeat=1000000", max_new_tokens=0)
    count = ctypes.cast(counter.count, LLMResultCallback)
    handle = ctypes.c_void_p()
    callback: object = count
    if model.callbacks is not None:
        model.callbacks.result_callback = count
        callback = ctypes.byref(model.callbacks)
    assert model.simulator.dll.rkllm_init(ctypes.byref(handle), ctypes.byref(model.param), callback) == 0
    model.handle = handle
    assert model.play()[0] == 0
    assert ctypes.c_int.in_dll(counter, "counted").value == 1_000_001


# ---- pace and threads -----------------------------------------------------------------------------------------------


def test_pace_and_prefill_last_as_long_as_they_say(load: Callable[..., Model]) -> None:
    model = load("text=x;repeat=50;pace_us=1000;prefill_ms=20;stamp=1")
    before = time.monotonic_ns()
    stamps = list(map(int, model.play()[1].output.split()))
    assert stamps[0] - before >= 20_000_000
    assert stamps[-1] - before >= 69_000_000  # 49 paces more, whenever the first token came


def test_delay_of_a_function(load: Callable[..., Model]) -> None:
    model = load("delay.rkllm_is_running=30")
    before = time.monotonic()
    model.is_running()
    assert time.monotonic() - before >= 0.03


@pytest.mark.parametrize("text", ["hold.rkllm_run=1", "prefill_hold=1"])
def test_a_call_is_held_while_the_file_exists(
    load: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    held, trace = tmp_path / "hold", tmp_path / "trace"
    held.touch()
    monkeypatch.setenv("RKLLM_SIMULATOR_HOLD", str(held))
    monkeypatch.setenv("RKLLM_SIMULATOR_TRACE", str(trace))
    model = load(f"text=ab;{text}")
    outputs: list[bytes] = []
    thread = threading.Thread(target=lambda: outputs.append(model.play()[1].output))
    thread.start()
    while "enter rkllm_run " not in trace.read_text():
        pass
    assert not outputs
    held.unlink()
    thread.join()
    assert outputs == [b"ab"]
    assert model.play()[1].output == b"ab", "nothing holds the next one"


def test_callbacks_come_from_the_callers_or_an_own_thread(load: Callable[..., Model]) -> None:
    here = threading.get_native_id()
    assert {event.thread for event in load().play()[1].events} == {here}
    status, recorder = load("thread=own").play()
    assert (status, recorder.output) == (0, b"[user] hello")
    assert here not in {event.thread for event in recorder.events}


def test_run_async_returns_at_once(load: Callable[..., Model], simulator: Simulator) -> None:
    model = load()
    go_on = threading.Event()
    status, recorder = model.play(asynchronous=True, reply=lambda _event: int(not go_on.wait(300)))
    assert status == 0
    assert model.is_running() == 1
    go_on.set()
    assert recorder.ended.wait(300)
    assert recorder.output == b"[user] hello"
    assert threading.get_native_id() not in {event.thread for event in recorder.events}
    assert model.is_running() == 0
    assert model.play()[0] == 0  # FINISH means that the next run may begin
    assert model.destroy() == 0
    assert (simulator.simulator_overlaps(), simulator.simulator_complaints()) == (0, 0)


# ---- abort and pause ------------------------------------------------------------------------------------------------


def test_abort_ends_at_the_next_token(load: Callable[..., Model]) -> None:
    model = load("text=ab;repeat=100")
    assert model.abort() == -1
    status, recorder = model.play(reply=lambda event: stop_at(3)(event) and model.abort())
    assert (status, recorder.output, recorder.states[-1]) == (0, b"ab" * 4, FINISH)
    assert model.play()[1].output == b"ab" * 100


def test_abort_can_lag_and_can_end_without_finish(load: Callable[..., Model]) -> None:
    model = load("text=ab;repeat=100;abort_lag=5;finish_after_abort=0")
    recorder = model.play(reply=lambda event: stop_at(3)(event) and model.abort())[1]
    assert recorder.output == b"ab" * 9
    assert FINISH not in recorder.states


@pytest.mark.parametrize(("text", "waits"), [("prefill_ms=300", True), ("prefill_ms=600000;prefill_abort=1", False)])
def test_abort_during_prefill(load: Callable[..., Model], text: str, waits: bool) -> None:
    model = load(text)
    before = time.monotonic()
    status, recorder = model.play(asynchronous=True)
    assert (status, model.abort()) == (0, 0)
    assert recorder.ended.wait(300), "long before the prefill that does not wait would have ended"
    assert recorder.states == [FINISH]
    assert not waits or time.monotonic() - before >= 0.3


def test_pause_and_resume(load: Callable[..., Model]) -> None:
    model = load("text=abcdefgh")
    status, recorder = model.play(reply=stop_at(1))
    assert (status, recorder.output, recorder.states) == (0, b"abcd", [NORMAL, NORMAL])
    assert model.kv() == [5 + 2]
    status, recorder = model.play(b"more")
    assert (status, recorder.output, recorder.states[-1]) == (0, b"efgh", FINISH)
    assert [event.token_id for event in recorder.events[:-1]] == [102, 103]
    assert model.kv() == [5 + 2 + 4 + 2]
    assert model.play()[1].output == b"abcdefgh"


def test_finish_after_pause(load: Callable[..., Model]) -> None:
    assert load("finish_after_pause=1").play(reply=stop_at(1))[1].states == [NORMAL, NORMAL, FINISH]


def test_is_running_polarity(load: Callable[..., Model]) -> None:
    model = load()
    seen: list[int] = []

    def look(_event: Event) -> int:
        seen.append(model.is_running())
        return 0

    model.play(reply=look)
    assert seen == [1] * 6 + [0]
    assert load("is_running_inverted=1").is_running() == 1


# ---- faults ---------------------------------------------------------------------------------------------------------


def test_init_out_of_memory_at_the_second(load: Callable[..., Model], capfd: pytest.CaptureFixture[str]) -> None:
    models = [load("init=fail@2") for _ in range(3)]
    assert [model.status for model in models] == [0, -1, 0]
    log = capfd.readouterr().err
    assert re.search(
        r"E RKNN: \[.*\] failed to allocate handle, ret: -1, errno: 12, errstr: Cannot allocate memory", log
    )
    assert "E rkllm: rkllm_init failed" in log
    assert models[0].play()[0] == 0


def test_a_second_load_takes_the_first_down(load: Callable[..., Model]) -> None:
    first, second = load("init=fail_takes_first_down"), load("init=fail_takes_first_down")
    assert (first.status, second.status) == (0, -1)
    status, recorder = first.play()
    assert (status, recorder.states) == (-1, [ERROR])
    assert first.destroy() == 0
    assert load("").play()[0] == 0


def test_init_succeeds_with_a_null_handle(load: Callable[..., Model]) -> None:
    model = load("init=null_handle")
    assert (model.status, model.handle.value) == (0, None)


def test_a_run_fails(load: Callable[..., Model]) -> None:
    status, recorder = load("text=abcdef;run=error@2").play()
    assert (status, recorder.output, recorder.states[-1]) == (-1, b"abcd", ERROR)
    assert load("run=error@2;error_status=0").play()[0] == 0
    status, recorder = load("run=fail@0;error_status=-5").play()
    assert (status, recorder.events) == (-5, [])
    model = load("run=fail;return.rkllm_abort=3;fault.rkllm_is_running=fail")
    assert (model.abort(), model.is_running()) == (3, -1)


def test_faults_and_lines_reach_hidden_states_too(
    load: Callable[..., Model], capfd: pytest.CaptureFixture[str]
) -> None:
    model = load("run=error;print.stderr=E rkllm: bad")
    status, recorder = model.play(infer=model.infer(mode=1))
    assert (status, recorder.states) == (-1, [ERROR])
    assert "E rkllm: bad\n" in capfd.readouterr().err


def test_a_fault_in_one_run_only(load: Callable[..., Model]) -> None:
    model = load("run=error@0;run_nth=2")
    assert [model.play()[0] for _ in range(3)] == [0, -1, 0]


DYING = """
import sys
from pathlib import Path
from tests.simulator.player import Simulator
layout, library, model = sys.argv[1:]
player = Simulator(layout, Path(library)).load(Path(model))
print("loaded", flush=True)
player.play()
print("survived", flush=True)
"""


def die(layout: str, library: Path, model: Path, scenario: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DYING, layout, str(library), str(model)],
        cwd=ROOT,
        env={**os.environ, "RKLLM_SIMULATOR": scenario, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.parametrize("where", ["init", "run", "fault.rkllm_run"])
@pytest.mark.parametrize(
    ("action", "status"),
    [
        *(("segfault", -signal.SIGSEGV), ("abort", -signal.SIGABRT)),
        *(("exit", 3), ("illegal", -signal.SIGILL)),
    ],
)
def test_the_process_dies(
    layout: str, library: Path, model_file: Path, tmp_path: Path, where: str, action: str, status: int
) -> None:
    ticket = tmp_path / "ticket"
    ticket.touch()
    scenario = f"{where}={action};fault_ticket={ticket}"
    with die(layout, library, model_file, scenario) as process:
        output, _ = process.communicate(timeout=300)
        assert output == ("" if where == "init" else "loaded\n")
        assert process.returncode == status
    with die(layout, library, model_file, scenario) as process:  # the ticket is used up
        assert process.communicate(timeout=300)[0] == "loaded\nsurvived\n"


@pytest.mark.parametrize("where", ["init=hang", "run=hang@2"])
def test_a_hang(layout: str, library: Path, model_file: Path, where: str) -> None:
    scenario = f"{where};print.stdout=about to hang;print_at={'rkllm_init' if 'init' in where else 2}"
    with die(layout, library, model_file, scenario) as process:
        assert process.stdout
        assert any(line == "about to hang\n" for line in process.stdout)
        assert process.poll() is None
        process.kill()


def test_a_hang_blocks_its_caller_only(load: Callable[..., Model], simulator: Simulator) -> None:
    model = load("fault.rkllm_is_running=hang")
    threading.Thread(target=model.is_running, daemon=True).start()
    assert model.play()[0] == 0


# ---- lines ----------------------------------------------------------------------------------------------------------


def test_printing(load: Callable[..., Model], capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    load(r"log=none;print.stdout=ab\xff;print_repeat=50000;print_newline=0;print.stderr=x;print_at=1;text=abcd").play()
    captured = capfdbinary.readouterr()
    assert captured.out == b"ab\xff" * 50000
    assert captured.err == b"x" * 50000
    load("log=stdout;print.stderr=E RKNN: bad;print_at=rkllm_init")
    captured = capfdbinary.readouterr()
    assert captured.err == b"E RKNN: bad\n"
    assert b"I rkllm: rkllm-runtime version: 1." in captured.out


# ---- what is loaded -------------------------------------------------------------------------------------------------


def test_model_files(simulator: Simulator, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.rkllm"
    assert simulator.load(path).status == -1
    path.touch()
    assert simulator.load(path).status == 0
    for content in (b"SIM", b"GGUF....", b"SIMMODE!"):
        path.write_bytes(content)
        assert simulator.load(path).status == -1
        assert "E rkllm: invalid rknn llm model magic" in capfd.readouterr().err


def test_context_limit(load: Callable[..., Model], capfd: pytest.CaptureFixture[str]) -> None:
    assert load("context_limit=4096", max_context_len=8192).status == -1
    assert "max_context[8192] must be less than the model's max_context_limit[4096]" in capfd.readouterr().err


def test_lora(load: Callable[..., Model], model_file: Path) -> None:
    model = load()
    wanted = model.infer(lora_params=ctypes.pointer(RKLLMLoraParam(b"coding")))
    assert model.play(infer=wanted)[0] == -1
    assert model.load_lora(ctypes.byref(RKLLMLoraAdapter(b"/nonexistent", b"coding", 1.0))) == -1
    assert model.load_lora(ctypes.byref(RKLLMLoraAdapter(str(model_file).encode(), b"coding", 1.0))) == 0
    assert model.play(infer=wanted)[1].output == b"<lora:coding>[user] hello"
    assert model.play()[1].output == b"[user] hello"


def test_prompt_cache(load: Callable[..., Model], tmp_path: Path) -> None:
    model, path = load(), tmp_path / "cache"
    name = str(path).encode()
    assert model.load_prompt_cache(name) == -1
    save = model.infer(prompt_cache_params=ctypes.pointer(RKLLMPromptCacheParam(1, name)))
    assert model.play(b"hello", save)[0] == 0
    assert path.read_bytes() == b"hello"
    assert model.load_prompt_cache(name) == 0
    assert model.load_prompt_cache(name) == -1
    assert model.play(b"help!")[1].events[-1].prefill_tokens == 2
    assert model.release_prompt_cache() == 0
    assert model.play(b"help!")[1].events[-1].prefill_tokens == 5


# ---- KV cache -------------------------------------------------------------------------------------------------------


def test_kv_cache(load: Callable[..., Model]) -> None:
    model = load("text=abcd")
    assert model.kv() == [0]
    keep = model.infer(keep_history=1)
    model.play(infer=keep)
    assert model.kv() == [5 + 2]
    model.play(infer=keep)
    assert model.kv() == [14]
    model.play()
    assert model.kv() == [7]
    assert model.set_chat_template(b"system", b"", b"") == 0
    model.play()
    assert model.kv() == [6 + 7]
    assert (model.clear_kv_cache(1, None, None), model.kv()) == (0, [6])
    assert (model.clear_kv_cache(0, None, None), model.kv()) == (0, [0])


def test_kv_ranges(load: Callable[..., Model]) -> None:
    def clear(start: list[int], end: list[int]) -> int:
        return model.clear_kv_cache(0, (ctypes.c_int * 2)(*start), (ctypes.c_int * 2)(*end))

    model = load("text=abcdef;batch_step=1", n_batch=2)
    model.play(model.inputs([b"hello", b"hi"]))
    assert model.kv() == [5 + 3, 2 + 2]
    assert clear([0, 0], [8, 5]) == -1
    assert clear([0, 3], [8, 2]) == -1
    assert clear([-1, 0], [1, 1]) == -1
    assert model.kv() == [8, 4]
    assert clear([2, 0], [8, 4]) == 0
    assert model.kv() == [2, 0]
    assert model.clear_kv_cache(0, (ctypes.c_int * 2)(), None) == -1
    model = load("text=abcdef;kv_ranges_need_pause=1", n_batch=2)
    model.play(model.inputs([b"hello", b"hi"]))
    assert clear([0, 0], [1, 1]) == -1
    model.play(model.inputs([b"hello", b"hi"]), reply=stop_at(0))
    assert clear([0, 0], [1, 1]) == 0


# ---- inputs ---------------------------------------------------------------------------------------------------------


def test_tokens_and_embeddings(load: Callable[..., Model]) -> None:
    model = load("embd=4;echo_hash=0")
    ids = (ctypes.c_int32 * 4)(1, 2, 3, 4)
    given = model.input(input_type=1)
    given.token_input.input_ids, given.token_input.n_tokens = ids, 4
    assert model.play(given)[1].output == b"[user] [tokens n=4 sum=10]"
    floats = (ctypes.c_float * 8)(1.5)
    given = model.input(input_type=2)
    given.embed_input.embed, given.embed_input.n_tokens = floats, 2
    recorder = model.play(given)[1]
    assert recorder.output == b"[user] [embed n=2 sum=1.5]"
    assert recorder.events[-1].prefill_tokens == 2
    model = load("embd=4;echo_hash=1")
    first = model.play(given)[1].output
    floats[0], floats[1] = 0, 1.5
    assert re.fullmatch(rb"\[user\] \[embed n=2 sum=1.5 hash=[0-9a-f]{16}\]", first)
    assert model.play(given)[1].output != first


def test_images_videos_and_audio(load: Callable[..., Model], simulator: Simulator) -> None:
    tags = {"img_start": b"<i>", "img_end": b"</i>", "img_content": b"<p>"}
    model = load("embd=2", **({} if simulator.is_1_3 else tags))
    given = model.input(input_type=3)
    multimodal = given.multimodal_input
    multimodal.prompt = b"what is it?"
    image = multimodal.image if simulator.is_1_3 else multimodal
    image.image_embed = (ctypes.c_float * 12)(0.5, 0.25)
    image.n_image, image.n_image_tokens, image.image_width, image.image_height = 2, 3, 392, 196
    expected = b"[user] what is it?[image n=2x3 sum=0.75 size=392x196 tags=<i>,</i>,<p>]"
    if simulator.is_1_3:
        image.image_start, image.image_end, image.image_content = b"<i>", b"</i>", b"<p>"
        video = multimodal.video
        video.video_embed = (ctypes.c_float * 12)(*[1.0] * 12)
        video.n_video, video.n_frame_per_video, video.n_frame_tokens = 1, 2, 3
        video.frame_width, video.frame_height, video.video_content = 10, 20, b"<v>"
        expected += b"[video n=1x2x3 sum=12 size=10x20 tags=,,<v>]"
    if hasattr(multimodal, "audio"):
        audio = multimodal.audio
        audio.audio_embed = (ctypes.c_float * 6)(*[0.5] * 6)
        audio.n_audio, audio.n_audio_tokens, audio.audio_start, audio.audio_end = 1, 3, b"<a>", b"</a>"
        expected += b"[audio n=1x3 sum=3 tags=<a>,</a>,]"
    assert model.play(given)[1].output == expected


def test_empty_inputs_are_refused(load: Callable[..., Model], capfd: pytest.CaptureFixture[str]) -> None:
    model = load()
    given = model.input(input_type=2)
    given.embed_input.n_tokens = 3
    for broken in (model.input(), given, model.input(input_type=3), model.input(input_type=9)):
        assert model.play(broken)[0] == -1
        assert "SIMULATOR: an input of type" in capfd.readouterr().err
    assert model.play(infer=model.infer(mode=7))[0] == -1
    assert model.simulator.dll.rkllm_run(model.handle, None, None, None) == -1
    assert model.play()[0] == 0


def test_templates_and_tools(load: Callable[..., Model]) -> None:
    model = load()
    assert model.set_chat_template(b"be brief", b"<u>", b"</u>") == 0
    assert model.play(model.input(b"hi", enable_thinking=True))[1].output == b"[system] be brief [user] <u>hi</u>"
    model = load()
    assert model.set_function_tools(b"", b'[{"name":"f"}]', b"tool_response") == 0
    assert model.play(b"hi")[1].output == b'<tool_call>[{"name":"f"}]</tool_call>[user] hi'
    assert model.play(model.input(b"42", role=b"tool"))[1].output == b"[tool] <tool_response>42</tool_response>"


def test_cross_attention(load: Callable[..., Model]) -> None:
    params = RKLLMCrossAttnParam(
        (ctypes.c_float * 16)(1.0, 2.0),
        (ctypes.c_float * 16)(4.0),
        (ctypes.c_float * 2)(1.0, 1.0),
        (ctypes.c_int32 * 2)(0, 1),
        2,
    )
    assert load().set_cross_attn_params(ctypes.byref(params)) == -1
    model = load(use_cross_attn=1)
    assert model.set_cross_attn_params(ctypes.byref(RKLLMCrossAttnParam())) == -1
    assert model.set_cross_attn_params(ctypes.byref(params)) == 0
    assert model.play()[1].output == b"[cross n=2 k=3 v=4 mask=2 pos=1] [user] hello"
    params.encoder_k_cache[0] = 9.0
    assert model.play()[0] == -1  # the arrays must stay as they are


def test_sampling_is_shown(load: Callable[..., Model], simulator: Simulator) -> None:
    model = load("echo_params=1", top_k=40, temperature=0.5, mirostat=2)
    output = model.play()[1].output
    assert output.startswith(b"[params top_k=40 top_p=0.9 temperature=0.5 repeat_penalty=1.1 ")
    assert b" mirostat=2 mirostat_tau=5 mirostat_eta=0.1 max_new_tokens=256] [user] hello" in output
    if simulator.is_1_3:
        sampling = simulator.layout["RKLLMSamplingParam"](top_k=7, top_p=0.25)
        infer = model.infer(sampling_params=ctypes.pointer(sampling), max_new_tokens=150)
        output = model.play(infer=infer)[1].output
        assert output.startswith(b"[params top_k=7 top_p=0.25 temperature=0 ")
        assert b"max_new_tokens=150]" in output


@pytest.mark.parametrize("layout", ["1.3", "1.3.1"], indirect=True)
def test_tokenizer_and_embed_callbacks(load: Callable[..., Model]) -> None:
    calls: list[tuple[bytes, int, int]] = []

    def tokenize(_userdata: int, text: Any, length: int, tokens: Any, room: int) -> int:
        ids = ctypes.string_at(text, length)
        tokens[0], tokens[1], tokens[2] = 11, 22, 33
        calls.append((ids, length, room))
        return -1 if ids == b"bad" else 3

    def embed(_userdata: int, tokens: Any, count: int, buffer: int, size: int) -> int:
        assert size == count * 8 * 4
        floats = (ctypes.c_float * (count * 8)).from_address(buffer)
        for i in range(count):
            floats[i * 8] = tokens[i]
        return 0

    embedder = LLMGetEmbedCallback(embed)
    model = load("embed_each_token=1", tokenizer_callback=LLMTokenizerCallback(tokenize), embed_callback=embedder)
    status, recorder = model.play()
    assert (status, recorder.output) == (0, b"[user] [ids n=3] [embed_callback n=3 sum=66] hello")
    assert calls == [(b"hello", 5, 512)]
    assert recorder.events[-1].prefill_tokens == 3
    assert model.play(b"bad")[0] == -1
    model = load(embed_callback=embedder)
    assert model.play(b"a")[1].output == b"[user] [embed_callback n=1 sum=97] a"


# ---- batches, hidden states, logits ---------------------------------------------------------------------------------


def test_batch(load: Callable[..., Model]) -> None:
    model = load("tokens=words", n_batch=2)
    status, recorder = model.play(model.inputs([b"one two", b"three"]))
    assert status == 0
    assert [event.batch for event in recorder.events] == [
        [(b"[user] ", 100), (b"[user] ", 100)],
        [(b"one ", 101), (b"three", 101)],
        [(b"two", 102), (None, -1)],
        [(None, 0), (None, 0)],
    ]


@pytest.mark.parametrize(("mode", "width"), [(1, 5), (2, 3)])
def test_rows(load: Callable[..., Model], simulator: Simulator, mode: int, width: int) -> None:
    model = load("embd=5;vocab=3")
    recorder = model.play(b"abcd", model.infer(mode=mode))[1]
    expected = [[float((i * width + j) % 7 - 3) for j in range(width)] for i in range(4)]
    assert recorder.states == [NORMAL, FINISH]
    assert recorder.events[0].rows == expected
    status, recorder = load("embd=5;vocab=3;rows=1").play(
        b"abcd", model.infer(mode=mode), reply=lambda event: 2 * (event.state == NORMAL)
    )
    assert (status, recorder.events[0].rows) == (0, expected[-1:])
    assert simulator.simulator_freed_buffers() == simulator.is_1_3
    assert simulator.simulator_complaints() == (not simulator.is_1_3)  # 1.2 does not know 2


# ---- misuse ---------------------------------------------------------------------------------------------------------


def test_dead_handles(
    load: Callable[..., Model], simulator: Simulator, model_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = load()
    assert model.destroy() == 0
    for handle in (model.handle, ctypes.c_void_p(), ctypes.c_void_p(0x1234)):
        model.handle = handle
        assert model.play()[0] == -1
        assert model.play(asynchronous=True)[0] == -1
        assert model.abort() == model.is_running() == model.destroy() == -1
        assert model.set_chat_template(b"", b"", b"") == -1
        assert capfd.readouterr().err.count("SIMULATOR: dead handle") == 6
    assert load().handle.value != model.handle.value


@pytest.mark.parametrize("strict", [False, True])
def test_the_strings_of_init_may_be_freed_unless_that_is_forbidden(
    load: Callable[..., Model], capfd: pytest.CaptureFixture[str], strict: bool
) -> None:
    model = load(f"init_strings_stay={int(strict)}")
    path = ctypes.create_string_buffer(model.param.model_path)
    model.param.model_path = ctypes.cast(path, ctypes.c_char_p)
    callback = model.callbacks if model.callbacks is not None else model._callback
    argument = callback if model.callbacks is None else ctypes.byref(model.callbacks)
    assert model.simulator.dll.rkllm_init(ctypes.byref(model.handle), ctypes.byref(model.param), argument) == 0
    assert model.play()[0] == 0
    path[3] = b"!"
    assert model.play()[0] == (-1 if strict else 0)
    assert ("SIMULATOR: model_path was freed" in capfd.readouterr().err) is strict


def test_inputs_freed_during_the_run_are_noticed(load: Callable[..., Model], capfd: pytest.CaptureFixture[str]) -> None:
    model = load()
    prompt = ctypes.create_string_buffer(b"hello")
    given = model.input(ctypes.cast(prompt, ctypes.c_char_p))  # type: ignore[arg-type]

    def overwrite(_event: Event) -> int:
        prompt.value = b"bye"
        return 0

    status, recorder = model.play(given, reply=overwrite)
    assert (status, recorder.states[-1]) == (-1, ERROR)
    assert "SIMULATOR: prompt_input was freed" in capfd.readouterr().err


def test_overlap_is_counted(
    load: Callable[..., Model], simulator: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    model, other = load(), load()
    inside, go_on = threading.Event(), threading.Event()

    def wait(_event: Event) -> int:
        inside.set()
        return int(not go_on.wait(300))

    model.play(asynchronous=True, reply=wait)
    assert inside.wait(10)
    recorder = model.recorder
    assert other.play()[0] == 0
    assert model.set_chat_template(b"", b"", b"") == -1
    assert simulator.simulator_overlaps() == 1
    log = capfd.readouterr().err
    assert "SIMULATOR: overlap: rkllm_run was entered while rkllm_run_async is inside" in log
    assert "SIMULATOR: rkllm_set_chat_template was entered while its handle is busy" in log
    go_on.set()
    assert recorder.ended.wait(300)
    assert recorder.output == b"[user] hello"


def test_destroy_during_a_run(load: Callable[..., Model], simulator: Simulator) -> None:
    model = load("text=ab;repeat=1000000;pace_us=100", max_new_tokens=0)
    inside = threading.Event()

    def enter(_event: Event) -> int:
        inside.set()
        return 0

    recorder = model.play(asynchronous=True, reply=enter)[1]
    assert inside.wait(10)
    assert model.destroy() == 0
    assert recorder.states[-1] == ERROR
    assert simulator.simulator_overlaps() == 1


# ---- trace ----------------------------------------------------------------------------------------------------------


def test_trace(
    load: Callable[..., Model], simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trace"
    monkeypatch.setenv("RKLLM_SIMULATOR_TRACE", str(path))
    before = time.monotonic_ns()
    model = load("trace_callbacks=1;text=abcd")
    model.play()
    recorder = model.play(asynchronous=True)[1]
    assert recorder.ended.wait(300)
    model.destroy()
    lines = [line.split() for line in path.read_text().splitlines()]
    assert all(before <= int(line[0]) <= time.monotonic_ns() for line in lines)
    here = [line[2:4] for line in lines if int(line[1]) == threading.get_native_id()]
    assert here == [
        ["enter", "rkllm_createDefaultParam"],
        ["leave", "rkllm_createDefaultParam"],
        ["enter", "rkllm_init"],
        ["leave", "rkllm_init"],
        ["enter", "rkllm_run"],
        ["callback", "normal"],
        ["callback", "normal"],
        ["callback", "finish"],
        ["leave", "rkllm_run"],
        ["enter", "rkllm_run_async"],
        ["leave", "rkllm_run_async"],
        ["enter", "rkllm_destroy"],
        ["leave", "rkllm_destroy"],
    ]
    elsewhere = [line[2:4] for line in lines if int(line[1]) != threading.get_native_id()]
    assert elsewhere == [
        ["callback", "normal"],
        ["callback", "normal"],
        ["finished", "rkllm_run_async"],
        ["callback", "finish"],
    ]
    assert simulator.simulator_calls() == 5


def test_trace_of_returning_callbacks(
    load: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trace"
    monkeypatch.setenv("RKLLM_SIMULATOR_TRACE", str(path))
    load("trace_callbacks=2;text=ab").play()
    lines = [line.split()[2:] for line in path.read_text().splitlines()]
    assert lines[-6:-1] == [
        ["enter", "rkllm_run", lines[-6][2]],
        ["callback", "normal", "1"],
        ["resumed", "normal", "0"],
        ["callback", "finish", "1"],
        ["resumed", "finish", "0"],
    ]


# ---- what was reported of 1.3.1 -------------------------------------------------------------------------------------


def test_a_prompt_longer_than_the_window(load: Callable[..., Model], capfd: pytest.CaptureFixture[str]) -> None:
    model = load("prompt_limit=1;log=none", max_context_len=32)
    assert model.play(b"x" * 33) == (-1, model.recorder)
    assert model.recorder.events == []
    assert capfd.readouterr().err == ""
    assert model.play(b"x" * 32)[1].states[-1] == FINISH
    assert load("", max_context_len=32).play(b"x" * 33)[0] == 0


def test_tokens_that_are_not_counted(load: Callable[..., Model]) -> None:
    recorder = load("text=abcdef;uncounted_tokens=1").play()[1]
    assert (recorder.states.count(NORMAL), recorder.events[-1].generate_tokens) == (3, 2)


def test_the_tokens_of_the_models_own_template(load: Callable[..., Model]) -> None:
    """The empty chat template tokenises the prompt exactly as given."""
    model = load("template_tokens=7")
    assert model.play(b"hello")[1].events[-1].prefill_tokens == 12
    assert model.set_chat_template(b"", b"", b"") == 0
    assert model.play(b"hello")[1].events[-1].prefill_tokens == 5


def test_results_of_functions_that_are_no_json(load: Callable[..., Model]) -> None:
    model = load("tool_json=1")
    for text, status in (
        *((b'{"a": 1}', 0), (b" [1]\n", 0), (b'"word"', 0), (b"-1.5", 0), (b"true", 0)),
        *((b"sunny", -1), (b"", -1), (b"{", -1), (b"  ", -1)),
    ):
        assert model.play(model.input(text, role=b"tool"))[0] == status, text
    assert model.play(model.input(b"sunny", role=b"user"))[0] == 0
    assert load().play(model.input(b"sunny", role=b"tool"))[0] == 0


def test_a_context_that_is_no_multiple(load: Callable[..., Model], capfd: pytest.CaptureFixture[str]) -> None:
    assert load("context_step=32", max_context_len=1000).status == -1
    assert "max_context[1000] must be a multiple of 32" in capfd.readouterr().err
    assert load("context_step=32", max_context_len=1024).status == 0


def test_an_abort_inside_the_callback(load: Callable[..., Model]) -> None:
    """It returns at once, and exactly one FINISH follows; the next run is clean."""
    model = load("text=ab;repeat=1000", max_new_tokens=0)
    answers: list[int] = []

    def abort(event: Event) -> int:
        if event.state == NORMAL and event.token_id == 102:
            answers.append(model.abort())
        return 0

    status, recorder = model.play(reply=abort)
    assert (status, answers, recorder.states) == (0, [0], [NORMAL] * 3 + [FINISH])
    assert model.play()[1].states == [NORMAL] * 1000 + [FINISH]


def test_placeholders_without_media(load: Callable[..., Model], simulator: Simulator) -> None:
    model = load("embd=2")
    assert model.play(b"an <image>")[0] == -1
    given = model.input(input_type=3)
    multimodal = given.multimodal_input
    image = multimodal.image if simulator.is_1_3 else multimodal
    image.image_embed, image.n_image, image.n_image_tokens = (ctypes.c_float * 2)(), 1, 1
    for prompt, status in ((b"<image>", 0), (b"<image><image>", -1), (b"none", 0)):
        multimodal.prompt = prompt
        assert model.play(given)[0] == status, prompt
    multimodal.prompt = b"<image><video>"
    assert model.play(given)[0] == (-1 if simulator.is_1_3 else 0)
    multimodal.prompt = b"<image><audio>"
    assert model.play(given)[0] == (-1 if hasattr(multimodal, "audio") else 0)
    assert load("embd=2;placeholder_overrun=0").play(b"an <image>")[0] == 0
