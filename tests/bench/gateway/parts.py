"""What ``python -m tests.bench --only gateway`` prints."""

from __future__ import annotations

import random
from pathlib import Path

from tests.bench.gateway import boards, overhead, side_by_side, turns
from tests.bench.measure import NO_TRACE
from tests.bench.table import line, own_folder
from tests.daemon import ENDLESS, Daemon
from tests.gateway.hanging_up import rounds
from tests.gateway.process import gateway


def measure(directory: Path, quick: bool) -> None:
    """Measure, each part in a folder of its own."""
    _overhead(own_folder(directory, "gateway-overhead"), 60 if quick else 300)
    _streams(own_folder(directory, "gateway-streams"), 50)
    _turns(own_folder(directory, "gateway-turns"))
    _side_by_side(own_folder(directory, "gateway-side"), 10 if quick else 50, 200 if quick else 1000)
    _hang_ups(own_folder(directory, "gateway-hang-ups"), 500 if quick else 10_000)


def measure_boards(directory: Path, quick: bool) -> None:
    """Measure what four boards give beside one."""
    seconds = 5 if quick else 20
    one, four = (boards.answers_per_second(own_folder(directory, f"gateway-boards-{n}"), n, seconds) for n in (1, 4))
    line("answers of four boards behind HAProxy, times those of one", f"{four / one:.2f}", ">= 3.8", f"{one:.2f} /s")


def _overhead(folder: Path, rounds: int) -> None:
    found = overhead.overhead(folder, rounds)
    for what, through, raw, target in (
        ("to the first token", found.first, found.first_raw, 2.0),
        ("from callback to client, a token", found.token, found.token_raw, 0.3),
    ):
        line(
            f"gateway beside the raw socket, {what}, ms more",
            f"{1000 * (through - raw):.2f}",
            f"<= {target}",
            f"{1000 * through:.2f}, raw {1000 * raw:.2f}",
        )


def _streams(folder: Path, tokens: int) -> None:
    found = overhead.streams(folder, tokens)
    what = f"gateway, {overhead.STREAMS} streams at once"
    wrong = found.doubled + abs(found.expected - found.tokens)
    line(f"{what}, tokens lost or doubled of {found.expected:,}", f"{wrong}", "0", f"{found.speed:,.0f} tokens/s")


def _turns(folder: Path) -> None:
    took, own = turns.measure(folder)
    what = f"turn {turns.TURNS} by the openai client, first token, 15 ms a token, ms"
    line(what, f"{1000 * took:,.0f}", f"<= {1300 * own:,.0f}", "1.3 x its own words")


def _side_by_side(folder: Path, rounds: int, tokens: int) -> None:
    plain = side_by_side.plain(folder, rounds, tokens)
    ours = side_by_side.ours(folder, rounds, tokens)
    clients = f"{side_by_side.CLIENTS} clients"
    for what, here, there, sign in (
        ("to the first token, ms", 1000 * ours.first, 1000 * plain.first, "<="),
        ("tokens/s, alone", ours.speed, plain.speed, ">="),
        (f"tokens/s, {clients}", ours.speed_together, plain.speed_together, ">="),
        (f"times that one of {clients} is refused", ours.refused, plain.refused, "<="),
        ("CPU us a token", 1e6 * ours.cpu, 1e6 * plain.cpu, "<="),
        ("private memory, MB", ours.memory / 2**20, plain.memory / 2**20, "<="),
    ):
        line(f"daemon and gateway beside a plain server, {what}", f"{here:,.1f}", f"{sign} {there:,.1f}")


def _hang_ups(folder: Path, count: int) -> None:
    with Daemon(folder, scenario=ENDLESS, environ=NO_TRACE) as daemon:
        daemon.load(max_new_tokens=1_000_000_000)
        with gateway(daemon.path, folder) as address:
            took = sorted(rounds(daemon, address, count, random.Random(14)))
    what = f"a client of {count:,} hangs up, the NPU has served another one"
    line(f"{what}, worst ms", f"{1000 * took[-1]:.1f}", "<= 100", f"median {1000 * took[count // 2]:.1f}")
