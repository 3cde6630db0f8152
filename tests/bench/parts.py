"""What ``python -m tests.bench`` prints of the daemon by itself: requests, streams, loads, its start."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import footprint, journal, measure, stress
from tests.bench.measure import NO_TRACE
from tests.bench.table import line, own_folder
from tests.bench.vision import tensors
from tests.daemon import Daemon


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


def measure_requests(directory: Path) -> None:
    with _echo_server(directory) as echo:
        echo_ping_pong = max(measure.ping_pong(echo) for _ in range(3))
    with Daemon(own_folder(directory, "requests"), environ=NO_TRACE) as daemon:
        daemon.load()
        for what, request in (("no C call", measure.CONSTANTS), ("of a model", measure.IS_RUNNING)):
            # The best of three: what else happens on the machine only ever takes away.
            ping_pong = max(measure.ping_pong(daemon.path, request) for _ in range(3))
            pipelined = max(measure.pipelined(daemon.path, request) for _ in range(3))
            line(
                f"instant requests, {what}, ping-pong, 1/s",
                f"{ping_pong:,.0f}",
                ">= 20,000",
                f"echo {echo_ping_pong:,.0f}",
            )
            line(f"instant requests, {what}, pipelined, 1/s", f"{pipelined:,.0f}", ">= 100,000")
        # By way of the worker thread. No more may wait at once than the queue takes, so nothing is pipelined.
        ping_pong = max(measure.ping_pong(daemon.path, measure.KV_CACHE_SIZE, 10_000) for _ in range(3))
        line("a short call of C, ping-pong, 1/s", f"{ping_pong:,.0f}")


def measure_streams(directory: Path) -> None:
    # rkllm_run calls back on the worker's own thread, rkllm_run_async on a thread that Python did not make.
    functions = ("rkllm_run", "rkllm_run_async")
    scenario = "text=abcdefgh ;repeat=60000;tokens=words"
    for function in functions:
        own = own_folder(directory, f"full-speed-{function}")
        with Daemon(own, "--run-async-calls", function, scenario=scenario, environ=NO_TRACE) as daemon:
            daemon.load(max_new_tokens=0)
            rate = max(measure.partials(daemon.path) for _ in range(3))
            line(f"partials at full speed, {function}, 1/s", f"{rate:,.0f}", ">= 50,000")
    scenario = "text=x ;repeat=200;tokens=words;stamp=1;pace_us=10000"
    for function in functions:
        with Daemon(
            own_folder(directory, function), "--run-async-calls", function, scenario=scenario, environ=NO_TRACE
        ) as daemon:
            daemon.load(max_new_tokens=0)
            # The limit just before each, and the best of six: a virtual core may run at half its speed for seconds.
            hops, tokens = zip(
                *((measure.hop_latencies(), measure.token_latencies(daemon.path)) for _ in range(6)), strict=True
            )
        for name, target in (("p50", "<= 100"), ("p99", "<= 1,000")):
            hop, latency = (min(getattr(found, name) for found in runs) for runs in (hops, tokens))
            what = f"callback to client at 100 tokens/s, {function}, {name} us"
            line(what, f"{latency:,.0f}", target, f"bare hop {hop:,.0f}")


def measure_loading(directory: Path, seconds: int) -> None:
    scenario = f"delay.rkllm_init={1000 * (seconds + 5)}"
    with (
        Daemon(
            own_folder(directory, "loading"), "--max-connections", "200", scenario=scenario, environ=NO_TRACE
        ) as daemon,
        daemon.connect() as loader,
    ):
        idle = measure.instant_latencies(daemon.path, clients=100, seconds=seconds)
        loader.request("rkllm.init", {"model_path": str(daemon.model)})
        loading = measure.instant_latencies(daemon.path, clients=100, seconds=seconds)
        with daemon.connect() as wire:
            state = wire.ask("server.status")["result"]["state"]
        assert state == "loading", state
        line(f"instant calls of 100 clients, idle daemon, p99 us ({idle.count:,} calls)", f"{idle.p99:,.0f}")
        line(
            f"the same while a model loads for {seconds} s, p99 us ({loading.count:,} calls)",
            f"{loading.p99:,.0f}",
            f"<= {idle.p99 + 1000:,.0f}",
        )
        daemon.process.kill()


def measure_stress(directory: Path, quick: bool) -> None:
    scenario = "text=a b c;tokens=words;pace_us=100"
    limits, rounds = ("--max-connections", "200"), 20 if quick else 300
    what = f"{stress.INSTANT_AT_ONCE} instant and {stress.NPU_AT_ONCE} NPU requests at once"
    for name, pause in ((what, 0.0), (f"{what}, 40 ms apart", 0.04)):
        with Daemon(own_folder(directory, f"at-once-{pause}"), *limits, scenario=scenario, environ=NO_TRACE) as daemon:
            daemon.load()
            found = stress.at_once(daemon.path, rounds, pause)
        with _echo_server(directory) as echo:  # its answers are no results
            _stressed(name, found, f"echo {stress.at_once(echo, rounds, pause).instant.p99:,.0f}")
    seconds = 3 if quick else 10
    scenario = f"delay.rkllm_init={1000 * (seconds + 2)}"
    with Daemon(own_folder(directory, "beside-a-load"), scenario=scenario, environ=NO_TRACE) as daemon:
        idle = stress.beside_a_load(daemon.path, None, seconds)
        load = tensors.request("rkllm.init", {"model_path": str(daemon.model)}, fds=False)
        found = stress.beside_a_load(daemon.path, load, seconds)
        _stressed(
            f"{stress.INSTANT_CLIENTS} of {stress.CLIENTS} clients on instant calls, one loads",
            found,
            f"idle {idle.instant.p99:,.0f}",
        )


def _stressed(what: str, found: stress.Outcome, limit: str) -> None:
    line(f"{what}, failures", f"{found.failures}", "0")
    line(f"{what}, p99 us ({found.instant.count:,} calls)", f"{found.instant.p99:,.0f}", "<= 10,000", limit)
    line(f"{what}, worst us", f"{found.instant.worst:,.0f}")


def measure_footprint(directory: Path, rounds: int) -> None:
    starts: dict[bool, list[footprint.Start]] = {True: [], False: []}
    for number in range(rounds):  # in turn, so that both meet the same machine
        for keeper, found in starts.items():
            own = own_folder(directory, f"start-{keeper}-{number}")
            found.append(footprint.start(own, keeper=keeper))
    kept, bare = starts[True], starts[False]
    seconds, bare_seconds = (min(one.seconds for one in found) for found in (kept, bare))
    cpu, bare_cpu = (min(one.cpu for one in found) for found in (kept, bare))
    what = f"ready after exec (the best of {rounds})"
    line(f"{what}, s", f"{seconds:.2f}", "<= 0.45")
    line("  of the processors, CPU s", f"{cpu:.2f}")
    line("  without a keeper, s", f"{bare_seconds:.2f}")
    line("  without a keeper, CPU s", f"{bare_cpu:.2f}")
    line("the keeper adds to that, ms", f"{1000 * (seconds - bare_seconds):.0f}", "<= 30")
    line("the keeper adds to that, CPU ms", f"{1000 * (cpu - bare_cpu):.0f}", "<= 30")
    line("the keeper's private memory, kB", f"{kept[-1].keeper_private / 1024:,.0f}", "<= 5,000")
    line("idle daemon, resident MB", f"{bare[-1].resident / 2**20:.1f}", "<= 50")
    back = min(footprint.seconds_back(own_folder(directory, f"back-{number}")) for number in range(rounds))
    line("from SIGSEGV to the next answer, no model loaded, ms", f"{1000 * back:.0f}", "<= 1,000")


def measure_journal() -> None:
    again, first = journal.call_us()
    line("a C call in the crash journal", f"{again:.2f} µs", "1 µs")
    line("the first one of a method", f"{first:.2f} µs")
