"""What ``python -m tests.bench`` prints of tensors and cameras."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench import measure
from tests.bench.measure import NO_TRACE
from tests.bench.table import line, own_folder
from tests.bench.vision import camera, tensors
from tests.daemon import Daemon


def measure_tensors(directory: Path, quick: bool) -> None:
    rounds = 50 if quick else 200
    with (
        Daemon(own_folder(directory, "tensors"), environ=NO_TRACE) as daemon,
        Daemon(own_folder(directory, "another"), environ=NO_TRACE) as another,
        tensors.Client(daemon.path) as client,
    ):
        model = directory / "image.rknn"
        model.write_text(tensors.IMAGE)
        context = int(client.ask("rknn.init", {"model_path": str(model), "keep": True})["context"])
        costs = tensors.picture_costs(daemon, context, rounds // 5)
        descriptor, text = costs["fd"] - costs["run"], costs["base64"] - costs["run"]
        moved, text_moved = costs["fd"] - costs["mem"], costs["base64"] - costs["mem"]
        line("a 1.2 MB picture by descriptor, CPU us beyond rknn.run", f"{1e6 * descriptor:,.0f}")
        line("  of it the daemon's and client's, not the runtime's own copy", f"{1e6 * moved:,.0f}")
        line("the same picture in base64, CPU us beyond rknn.run", f"{1e6 * text:,.0f}")
        line("base64 costs times as much", f"{text / descriptor:,.0f}")
        ratio = text_moved / max(moved, 1e-6)
        line("the same without the runtime's own copy", f"{ratio:,.0f}", ">= 20")

        idle = tensors.idle(daemon.path, 2 if quick else 10)
        line(f"instant calls, idle daemon, p99.9 us ({idle.count:,} calls)", f"{idle.p999:,.0f}")
        line("the same, worst us", f"{idle.worst:,.0f}")
        seconds, latencies = tensors.big_descriptor(daemon, context, 5 * rounds)
        line("64 MiB by descriptor, round trip, us", f"{1e6 * seconds:,.0f}", "<= 1,000")
        _meanwhile("64 MiB by descriptor", latencies, idle, "idle")
        _meanwhile("64 MiB copied into a memory", tensors.written_by_descriptor(daemon, context, rounds), idle, "idle")
        for what, transfer in (("come in", tensors.base64_in), ("go out", tensors.base64_out)):
            # What a daemon's clients wait that has nothing to do with it: two cores have four threads to serve. The
            # best of three: what else happens on the machine only ever adds.
            asked = (another.path, None) * 3
            runs = [transfer(daemon, context, rounds // 3, path) for path in asked]
            elsewhere, here = (min(found, key=lambda run: run.p999) for found in (runs[::2], runs[1::2]))
            _meanwhile(f"8 MiB in base64 {what}", here, elsewhere, "of another daemon")


def _meanwhile(what: str, latencies: measure.Latencies, limit: measure.Latencies, whose: str) -> None:
    """Print what others wait meanwhile: the loop is not held for longer than 2 ms."""
    for name, figure in ((f"p99.9 us ({latencies.count:,} calls)", "p999"), ("worst us", "worst")):
        least = getattr(limit, figure)
        line(
            f"instant calls while {what}, {name}",
            f"{getattr(latencies, figure):,.0f}",
            f"<= {least + 2000:,.0f}",
            f"{whose} {least:,.0f}",
        )


def measure_camera(directory: Path, tokens: int) -> None:
    token_ms, frame_ms = 1000 / camera.TOKENS_PER_SECOND, 1000 * camera.FRAME_SECONDS
    for function in ("rkllm_run", "rkllm_run_async"):
        frames, took = camera.answer_with_camera(
            own_folder(directory, f"camera-{function}"), function, "always", tokens
        )
        work = (tokens * token_ms + len(frames) * frame_ms) / 1000
        what = f"camera at {camera.FRAMES_PER_SECOND}/s beside {tokens} tokens by {function}"
        line(
            f"{what}, p95 of {len(frames)} frames, ms",
            f"{1000 * frames[len(frames) * 95 // 100]:.1f}",
            f"<= {token_ms + frame_ms:.0f}",
        )
        line(f"{what}, the answer, s", f"{took:.2f}", f"<= {1.15 * work:.2f}", f"sum of the work {work:.2f}")


def measure_steps(directory: Path, rounds: int) -> None:
    ways = {"come in": tensors.base64_in, "go out": tensors.base64_out}
    for way, transfer in ways.items():
        # The best of three: where the memory for a page comes from is the machine's affair, and may take long.
        names = [f"steps-{way.replace(' ', '-')}-{number}" for number in "123"]
        found = [_steps_of(own_folder(directory, name), transfer, rounds) for name in names]
        steps, cpu = min(found, key=lambda run: run[1])
        bare = min(tensors.bare_step(steps) for _ in range(3))
        line(
            f"longest step of the loop while 8 MiB in base64 {way}, CPU us ({steps:,} steps)",
            f"{1000 * cpu:,.0f}",
            "<= 2,000",
            f"bare loop {1e6 * bare:,.0f}",
        )


def _steps_of(
    folder: Path, transfer: Callable[[Daemon, int, int], measure.Latencies], rounds: int
) -> tuple[int, float]:
    """Return how many steps the daemon's loop made meanwhile, and the longest one's CPU milliseconds."""
    launcher = (sys.executable, str(Path(__file__).with_name("steps.py")), str(folder / "steps"))
    with Daemon(folder, environ=NO_TRACE, launcher=launcher) as daemon, tensors.Client(daemon.path) as client:
        (folder / "image.rknn").write_text(tensors.IMAGE)
        params = {"model_path": str(folder / "image.rknn"), "keep": True}
        context = int(client.ask("rknn.init", params)["context"])
        transfer(daemon, context, rounds)
    steps, cpu, _ = (float(word) for word in (folder / "steps").read_text().split())
    assert steps, "no client's task was seen"
    return int(steps), cpu
