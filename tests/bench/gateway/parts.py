"""What ``python -m tests.bench --only gateway`` prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bench.gateway import overhead

# Prints a line: what, the figure, its target, the limit in this run.
Line = Callable[..., None]


def measure(line: Line, directory: Path, quick: bool) -> None:
    """Measure, each part in a folder of its own."""
    _overhead(line, _folder(directory, "overhead"), 60 if quick else 300)
    _streams(line, _folder(directory, "streams"), 50)


def _folder(directory: Path, name: str) -> Path:
    folder = directory / f"gateway-{name}"
    folder.mkdir()
    return folder


def _overhead(line: Line, folder: Path, rounds: int) -> None:
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


def _streams(line: Line, folder: Path, tokens: int) -> None:
    found = overhead.streams(folder, tokens)
    what = f"gateway, {overhead.STREAMS} streams at once"
    wrong = found.doubled + abs(found.expected - found.tokens)
    line(f"{what}, tokens lost or doubled of {found.expected:,}", f"{wrong}", "0", f"{found.speed:,.0f} tokens/s")
