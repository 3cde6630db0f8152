"""Prints each figure beside its target, and beside a bare trio echo server measured in the same run.

``python -m tests.bench [--quick] [--only PART]``; --quick shortens the 30 s model load to 3 s and sends fewer tensors.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rkllmd.chat.answers.dialect import DIALECTS, Dialect
from rkllmd.chat.answers.reading import AnswerReader
from rkllmd.language.texts.transcript import NORMAL, Transcript
from tests.bench import camera, chats, footprint, journal, measure, stress, tensors
from tests.bench.gateway import parts as gateway
from tests.bench.language import batches, cached_prompt, formats
from tests.bench.measure import NO_TRACE
from tests.daemon import Daemon


def _line(what: str, figure: str, target: str = "", limit: str = "") -> None:
    print(f"  {what:<70} {figure:>14}   {target:<12} {limit}", flush=True)


@contextmanager
def _echo_server(directory: Path) -> Iterator[str]:
    path = str(Path(tempfile.mkdtemp(dir=directory)) / "echo.sock")
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("echo_server.py")), path], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield path
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _folder(directory: Path, name: str) -> Path:
    folder = directory / name
    folder.mkdir()
    return folder


def _requests(directory: Path) -> None:
    with _echo_server(directory) as echo:
        echo_ping_pong = max(measure.ping_pong(echo) for _ in range(3))
    with Daemon(_folder(directory, "requests"), environ=NO_TRACE) as daemon:
        daemon.load()
        for what, line in (("no C call", measure.CONSTANTS), ("of a model", measure.IS_RUNNING)):
            # The best of three: what else happens on the machine only ever takes away.
            ping_pong = max(measure.ping_pong(daemon.path, line) for _ in range(3))
            pipelined = max(measure.pipelined(daemon.path, line) for _ in range(3))
            _line(
                f"instant requests, {what}, ping-pong, 1/s",
                f"{ping_pong:,.0f}",
                ">= 20,000",
                f"echo {echo_ping_pong:,.0f}",
            )
            _line(f"instant requests, {what}, pipelined, 1/s", f"{pipelined:,.0f}", ">= 100,000")
        # By way of the worker thread. No more may wait at once than the queue takes, so nothing is pipelined.
        ping_pong = max(measure.ping_pong(daemon.path, measure.KV_CACHE_SIZE, 10_000) for _ in range(3))
        _line("a short call of C, ping-pong, 1/s", f"{ping_pong:,.0f}")


def _streams(directory: Path) -> None:
    # rkllm_run calls back on the worker's own thread, rkllm_run_async on a thread that Python did not make.
    functions = ("rkllm_run", "rkllm_run_async")
    scenario = "text=abcdefgh ;repeat=60000;tokens=words"
    for function in functions:
        folder = _folder(directory, f"full-speed-{function}")
        with Daemon(folder, "--run-async-calls", function, scenario=scenario, environ=NO_TRACE) as daemon:
            daemon.load(max_new_tokens=0)
            rate = max(measure.partials(daemon.path) for _ in range(3))
            _line(f"partials at full speed, {function}, 1/s", f"{rate:,.0f}", ">= 50,000")
    scenario = "text=x ;repeat=200;tokens=words;stamp=1;pace_us=10000"
    for function in functions:
        with Daemon(
            _folder(directory, function), "--run-async-calls", function, scenario=scenario, environ=NO_TRACE
        ) as daemon:
            daemon.load(max_new_tokens=0)
            # The limit just before each, and the best of six: a virtual core may run at half its speed for seconds.
            hops, tokens = zip(
                *((measure.hop_latencies(), measure.token_latencies(daemon.path)) for _ in range(6)), strict=True
            )
        for name, target in (("p50", "<= 100"), ("p99", "<= 1,000")):
            hop, latency = (min(getattr(found, name) for found in runs) for runs in (hops, tokens))
            what = f"callback to client at 100 tokens/s, {function}, {name} us"
            _line(what, f"{latency:,.0f}", target, f"bare hop {hop:,.0f}")


def _loading(directory: Path, seconds: int) -> None:
    scenario = f"delay.rkllm_init={1000 * (seconds + 5)}"
    with (
        Daemon(
            _folder(directory, "loading"), "--max-connections", "200", scenario=scenario, environ=NO_TRACE
        ) as daemon,
        daemon.connect() as loader,
    ):
        idle = measure.instant_latencies(daemon.path, clients=100, seconds=seconds)
        loader.request("rkllm.init", {"model_path": str(daemon.model)})
        loading = measure.instant_latencies(daemon.path, clients=100, seconds=seconds)
        with daemon.connect() as wire:
            state = wire.ask("server.status")["result"]["state"]
        assert state == "loading", state
        _line(f"instant calls of 100 clients, idle daemon, p99 us ({idle.count:,} calls)", f"{idle.p99:,.0f}")
        _line(
            f"the same while a model loads for {seconds} s, p99 us ({loading.count:,} calls)",
            f"{loading.p99:,.0f}",
            f"<= {idle.p99 + 1000:,.0f}",
        )
        daemon.process.kill()


def _stress(directory: Path, quick: bool) -> None:
    scenario = "text=a b c;tokens=words;pace_us=100"
    limits, rounds = ("--max-connections", "200"), 20 if quick else 300
    what = f"{stress.INSTANT_AT_ONCE} instant and {stress.NPU_AT_ONCE} NPU requests at once"
    for name, pause in ((what, 0.0), (f"{what}, 40 ms apart", 0.04)):
        with Daemon(_folder(directory, f"at-once-{pause}"), *limits, scenario=scenario, environ=NO_TRACE) as daemon:
            daemon.load()
            found = stress.at_once(daemon.path, rounds, pause)
        with _echo_server(directory) as echo:  # its answers are no results
            _stressed(name, found, f"echo {stress.at_once(echo, rounds, pause).instant.p99:,.0f}")
    seconds = 3 if quick else 10
    scenario = f"delay.rkllm_init={1000 * (seconds + 2)}"
    with Daemon(_folder(directory, "beside-a-load"), scenario=scenario, environ=NO_TRACE) as daemon:
        idle = stress.beside_a_load(daemon.path, None, seconds)
        load = tensors.request("rkllm.init", {"model_path": str(daemon.model)}, fds=False)
        found = stress.beside_a_load(daemon.path, load, seconds)
        _stressed(
            f"{stress.INSTANT_CLIENTS} of {stress.CLIENTS} clients on instant calls, one loads",
            found,
            f"idle {idle.instant.p99:,.0f}",
        )


def _stressed(what: str, found: stress.Outcome, limit: str) -> None:
    _line(f"{what}, failures", f"{found.failures}", "0")
    _line(f"{what}, p99 us ({found.instant.count:,} calls)", f"{found.instant.p99:,.0f}", "<= 10,000", limit)
    _line(f"{what}, worst us", f"{found.instant.worst:,.0f}")


def _footprint(directory: Path, rounds: int) -> None:
    starts: dict[bool, list[footprint.Start]] = {True: [], False: []}
    for number in range(rounds):  # in turn, so that both meet the same machine
        for keeper, found in starts.items():
            folder = _folder(directory, f"start-{keeper}-{number}")
            found.append(footprint.start(folder, keeper=keeper))
    kept, bare = starts[True], starts[False]
    seconds, bare_seconds = (min(one.seconds for one in found) for found in (kept, bare))
    cpu, bare_cpu = (min(one.cpu for one in found) for found in (kept, bare))
    what = f"ready after exec (the best of {rounds})"
    _line(f"{what}, s", f"{seconds:.2f}", "<= 0.45")
    _line("  of the processors, CPU s", f"{cpu:.2f}")
    _line("  without a keeper, s", f"{bare_seconds:.2f}")
    _line("  without a keeper, CPU s", f"{bare_cpu:.2f}")
    _line("the keeper adds to that, ms", f"{1000 * (seconds - bare_seconds):.0f}", "<= 30")
    _line("the keeper adds to that, CPU ms", f"{1000 * (cpu - bare_cpu):.0f}", "<= 30")
    _line("the keeper's private memory, kB", f"{kept[-1].keeper_private / 1024:,.0f}", "<= 5,000")
    _line("idle daemon, resident MB", f"{bare[-1].resident / 2**20:.1f}", "<= 50")
    back = min(footprint.seconds_back(_folder(directory, f"back-{number}")) for number in range(rounds))
    _line("from SIGSEGV to the next answer, no model loaded, ms", f"{1000 * back:.0f}", "<= 1,000")


def _tensors(directory: Path, quick: bool) -> None:
    rounds = 50 if quick else 200
    with (
        Daemon(_folder(directory, "tensors"), environ=NO_TRACE) as daemon,
        Daemon(_folder(directory, "another"), environ=NO_TRACE) as another,
        tensors.Client(daemon.path) as client,
    ):
        model = directory / "image.rknn"
        model.write_text(tensors.IMAGE)
        context = int(client.ask("rknn.init", {"model_path": str(model), "keep": True})["context"])
        costs = tensors.picture_costs(daemon, context, rounds // 5)
        descriptor, text = costs["fd"] - costs["run"], costs["base64"] - costs["run"]
        moved, text_moved = costs["fd"] - costs["mem"], costs["base64"] - costs["mem"]
        _line("a 1.2 MB picture by descriptor, CPU us beyond rknn.run", f"{1e6 * descriptor:,.0f}")
        _line("  of it the daemon's and client's, not the runtime's own copy", f"{1e6 * moved:,.0f}")
        _line("the same picture in base64, CPU us beyond rknn.run", f"{1e6 * text:,.0f}")
        _line("base64 costs times as much", f"{text / descriptor:,.0f}")
        ratio = text_moved / max(moved, 1e-6)
        _line("the same without the runtime's own copy", f"{ratio:,.0f}", ">= 20")

        idle = tensors.idle(daemon.path, 2 if quick else 10)
        _line(f"instant calls, idle daemon, p99.9 us ({idle.count:,} calls)", f"{idle.p999:,.0f}")
        _line("the same, worst us", f"{idle.worst:,.0f}")
        seconds, latencies = tensors.big_descriptor(daemon, context, 5 * rounds)
        _line("64 MiB by descriptor, round trip, us", f"{1e6 * seconds:,.0f}", "<= 1,000")
        _meanwhile("64 MiB by descriptor", latencies, idle, "idle")
        _meanwhile("64 MiB copied into a memory", tensors.written_by_descriptor(daemon, context, rounds), idle, "idle")
        for what, transfer in (("come in", tensors.base64_in), ("go out", tensors.base64_out)):
            # What a daemon's clients wait that has nothing to do with it: two cores have four threads to serve. The
            # best of three: what else happens on the machine only ever adds.
            asked = (another.path, None) * 3
            runs = [transfer(daemon, context, rounds // 3, path) for path in asked]
            elsewhere, here = (min(found, key=lambda run: run.p999) for found in (runs[::2], runs[1::2]))
            _meanwhile(f"8 MiB in base64 {what}", here, elsewhere, "of another daemon")


def _vision_between_tokens(directory: Path, tokens: int) -> None:
    token_ms, frame_ms = 1000 / camera.TOKENS_PER_SECOND, 1000 * camera.FRAME_SECONDS
    for function in ("rkllm_run", "rkllm_run_async"):
        frames, took = camera.answer_with_camera(_folder(directory, f"camera-{function}"), function, "always", tokens)
        work = (tokens * token_ms + len(frames) * frame_ms) / 1000
        what = f"camera at {camera.FRAMES_PER_SECOND}/s beside {tokens} tokens by {function}"
        _line(
            f"{what}, p95 of {len(frames)} frames, ms",
            f"{1000 * frames[len(frames) * 95 // 100]:.1f}",
            f"<= {token_ms + frame_ms:.0f}",
        )
        _line(f"{what}, the answer, s", f"{took:.2f}", f"<= {1.15 * work:.2f}", f"sum of the work {work:.2f}")


def _cached_prompt(directory: Path, rounds: int) -> None:
    found = cached_prompt.measure(_folder(directory, "cached-prompt"), rounds)
    what = "first token, portable runtime"
    without, cached = 1000 * found.without, 1000 * found.cached
    _line(f"{what}, {found.tokens_without} tokens of prompt, ms", f"{without:,.1f}")
    _line(
        f"{what}, {found.tokens_cached} tokens beside the prompt cache, ms",
        f"{cached:,.1f}",
        "",
        f"saves {without - cached:,.1f}",
    )
    _line(f"loading that prompt cache of {found.size_bytes / 2**20:.1f} MiB, ms", f"{1000 * found.load:,.1f}")


def _batches(directory: Path, rounds: int) -> None:
    measured = (
        ("the simulator, 20 ms a step", batches.simulated, rounds, 3.5),
        # Rounds of a few hundredths of a second: the more, the less it matters who begins.
        ("the portable runtime", batches.portable, 4 * rounds, 2.0),
        ("the portable runtime, chats", batches.chats, 4 * rounds, 2.0),
    )
    for number, (what, measure_one, times, least) in enumerate(measured):
        found = measure_one(_folder(directory, f"batches-{number}"), times)
        _line(
            f"four clients in batches, {what}, times the tokens/s",
            f"{found.together / found.alone:.2f}",
            f">= {least}",
            f"{found.together:,.0f}/s, one by one {found.alone:,.0f}/s",
        )


def _formats(rounds: int) -> None:
    found = formats.measure(rounds)
    _line("format: reading a schema, ms", f"{1000 * found.schema:,.2f}")
    for what, seconds in (
        ("the judge, portable runtime", found.exact),
        ("all in all, beside an unguided run", found.exact_beside),
        ("the judge, a vocabulary of 150,000 tokens", found.large_vocabulary),
        ("the judge, by pauses", found.by_pauses),
    ):
        _line(f"format: {what}, us a token", f"{1e6 * seconds:,.1f}", "<= 50")
    what = "format: longest wait of others while 150,000 tokens are read, ms"
    _line(what, f"{1000 * found.waited:,.1f}", "<= 50")


def _longest_steps(directory: Path, rounds: int) -> None:
    ways = {"come in": tensors.base64_in, "go out": tensors.base64_out}
    for way, transfer in ways.items():
        # The best of three: where the memory for a page comes from is the machine's affair, and may take long.
        found = [_steps_of(directory / f"steps-{way.replace(' ', '-')}-{number}", transfer, rounds) for number in "123"]
        steps, cpu = min(found, key=lambda run: run[1])
        bare = min(tensors.bare_step(steps) for _ in range(3))
        _line(
            f"longest step of the loop while 8 MiB in base64 {way}, CPU us ({steps:,} steps)",
            f"{1000 * cpu:,.0f}",
            "<= 2,000",
            f"bare loop {1e6 * bare:,.0f}",
        )


def _steps_of(
    folder: Path, transfer: Callable[[Daemon, int, int], measure.Latencies], rounds: int
) -> tuple[int, float]:
    """Return how many steps the daemon's loop made meanwhile, and the longest one's CPU milliseconds."""
    folder.mkdir()
    launcher = (sys.executable, str(Path(__file__).with_name("steps.py")), str(folder / "steps"))
    with Daemon(folder, environ=NO_TRACE, launcher=launcher) as daemon, tensors.Client(daemon.path) as client:
        (folder / "image.rknn").write_text(tensors.IMAGE)
        params = {"model_path": str(folder / "image.rknn"), "keep": True}
        context = int(client.ask("rknn.init", params)["context"])
        transfer(daemon, context, rounds)
    steps, cpu, _ = (float(word) for word in (folder / "steps").read_text().split())
    return int(steps), cpu


def _meanwhile(what: str, latencies: measure.Latencies, limit: measure.Latencies, whose: str) -> None:
    """Print what others wait meanwhile: the loop is not held for longer than 2 ms."""
    for name, figure in ((f"p99.9 us ({latencies.count:,} calls)", "p999"), ("worst us", "worst")):
        least = getattr(limit, figure)
        _line(
            f"instant calls while {what}, {name}",
            f"{getattr(latencies, figure):,.0f}",
            f"<= {least + 2000:,.0f}",
            f"{whose} {least:,.0f}",
        )


def _journal() -> None:
    again, first = journal.call_us()
    _line("a C call in the crash journal", f"{again:.2f} µs", "1 µs")
    _line("the first one of a method", f"{first:.2f} µs")


def _answers() -> None:
    tokens = [
        (7, piece) for piece in (b"<think>", b" So", b"</think>", b" I", b" look", b".", b" <", b" b", b">") * 500
    ]
    for what, dialect in (("as it comes", None), ("read as an answer", DIALECTS["hermes"])):

        def transcribe(dialect: Dialect | None = dialect) -> None:
            transcript = Transcript(1)
            if dialect is not None:
                transcript.read_by(AnswerReader(dialect, tools=[{"name": "get_weather"}]))
            for token in tokens:
                transcript.partial(NORMAL, [token])

        seconds = min(timeit.repeat(transcribe, number=1, repeat=20))
        _line(f"a token into a partial result, its text {what}, us", f"{1e6 * seconds / len(tokens):.2f}", "<= 50")


def _chats(directory: Path) -> None:
    found = chats.on_the_simulator(_folder(directory, "chats-simulator"))
    what = f"turn {chats.TURNS} of messages, first token"
    _line(
        f"{what}, 15 ms a token, ms", f"{1000 * found.took:,.0f}", f"<= {1200 * found.own:,.0f}", "1.2 x its own words"
    )
    found = chats.on_the_portable_runtime(_folder(directory, "chats-portable"))
    _line(
        f"{what}, three taking turns, portable, tokens read",
        f"{found.tokens}",
        f"<= {1.5 * found.own_tokens:.0f}",
        "1.5 x one alone",
    )
    _line(
        f"{what}, three taking turns, portable, ms",
        f"{1000 * found.took:,.1f}",
        f"<= {1500 * found.own:,.1f}",
        "1.5 x one alone",
    )


def _templates() -> None:
    ours, theirs = chats.rendering()
    what = "41 messages by a model's chat template, and by transformers"
    _line(what, f"{1000 * ours:.1f} ms", "", f"{1000 * theirs:.1f} ms")
    name, seconds = chats.slowest_template()
    _line(f"a hostile chat template is an error ({name})", f"{1000 * seconds:.0f} ms", "≤ 100 ms", "of CPU")


_PARTS: Final[dict[str, Callable[[Path, bool], None]]] = {
    "footprint": lambda directory, quick: _footprint(directory, 3 if quick else 10),
    "journal": lambda directory, quick: _journal(),
    "requests": lambda directory, quick: _requests(directory),
    "streams": lambda directory, quick: _streams(directory),
    "answers": lambda directory, quick: _answers(),
    "tensors": _tensors,
    "steps": lambda directory, quick: _longest_steps(directory, 10 if quick else 50),
    "cached-prompt": lambda directory, quick: _cached_prompt(directory, 5 if quick else 25),
    "templates": lambda directory, quick: _templates(),
    "chats": lambda directory, quick: _chats(directory),
    "batches": lambda directory, quick: _batches(directory, 12 if quick else 24),
    "formats": lambda _, quick: _formats(5 if quick else 15),
    "camera": lambda directory, quick: _vision_between_tokens(directory, 60 if quick else 300),
    "gateway": lambda directory, quick: gateway.measure(_line, directory, quick),
    "boards": lambda directory, quick: gateway.measure_boards(_line, directory, quick),
    "stress": _stress,
    "loading": lambda directory, quick: _loading(directory, 3 if quick else 30),
}


def main() -> None:
    """Run all measurements, or some."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a model load of 3 s instead of 30 s, fewer tensors")
    parser.add_argument("--only", action="append", choices=_PARTS, metavar="PART", help=f"of {', '.join(_PARTS)}")
    given = parser.parse_args()
    print(f"  {'':<70} {'measured':>14}   {'target':<12} {'limit in this run'}")
    with tempfile.TemporaryDirectory() as name:
        for part, measured in _PARTS.items():
            if given.only is None or part in given.only:
                measured(Path(name), given.quick)


if __name__ == "__main__":
    main()
