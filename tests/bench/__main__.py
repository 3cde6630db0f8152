"""Prints each figure beside its target, and beside a bare trio echo server measured in the same run.

``python -m tests.bench [--quick] [--only PART]``; --quick shortens the 30 s model load to 3 s and sends fewer tensors.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.bench import parts as daemon
from tests.bench import table
from tests.bench.gateway import parts as gateway
from tests.bench.language import parts as language
from tests.bench.vision import parts as vision

_PARTS: Final[dict[str, Callable[[Path, bool], None]]] = {
    "footprint": lambda directory, quick: daemon.measure_footprint(directory, 3 if quick else 10),
    "journal": lambda directory, quick: daemon.measure_journal(),
    "requests": lambda directory, quick: daemon.measure_requests(directory),
    "streams": lambda directory, quick: daemon.measure_streams(directory),
    "answers": lambda directory, quick: language.measure_answers(),
    "tensors": vision.measure_tensors,
    "steps": lambda directory, quick: vision.measure_steps(directory, 10 if quick else 50),
    "cached-prompt": lambda directory, quick: language.measure_cached_prompt(directory, 5 if quick else 25),
    "templates": lambda directory, quick: language.measure_templates(),
    "chats": lambda directory, quick: language.measure_chats(directory),
    "batches": lambda directory, quick: language.measure_batches(directory, 12 if quick else 24),
    "formats": lambda _, quick: language.measure_formats(5 if quick else 15),
    "camera": lambda directory, quick: vision.measure_camera(directory, 60 if quick else 300),
    "gateway": gateway.measure,
    "boards": gateway.measure_boards,
    "stress": daemon.measure_stress,
    "loading": lambda directory, quick: daemon.measure_loading(directory, 3 if quick else 30),
}


def main() -> None:
    """Run all measurements, or some."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a model load of 3 s instead of 30 s, fewer tensors")
    parser.add_argument("--only", action="append", choices=_PARTS, metavar="PART", help=f"of {', '.join(_PARTS)}")
    given = parser.parse_args()
    table.heading()
    with tempfile.TemporaryDirectory() as name:
        for part, measured in _PARTS.items():
            if given.only is None or part in given.only:
                measured(Path(name), given.quick)


if __name__ == "__main__":
    main()
