"""A disk without room: what the daemon keeps for speed or for later fails no call."""

from __future__ import annotations

from pathlib import Path

from tests.daemon import UNMEASURED, Start
from tests.wire_connection import kind

# No file grows beyond this (setrlimit(2), RLIMIT_FSIZE): neither the store nor a cache of the prompt below.
ROOM = 49_152
PROMPT = "word " * (ROOM // 4)


def test_everything_is_served_where_nothing_can_be_written(start: Start, tmp_path: Path) -> None:
    caches, state = tmp_path / "caches", tmp_path / "state"
    for folder in (caches, state):
        folder.mkdir()
    daemon = start(
        *("--session-caches", "always", "--cache-directory", str(caches), "--state-directory", str(state)),
        launcher=(*UNMEASURED, "prlimit", f"--fsize={ROOM}"),
        scenario="text=ab",
    )
    daemon.load()
    with daemon.connect() as wire:
        for turn in (1, 2):
            result = wire.ask("rkllm.run", {"prompt": PROMPT}, session="kitchen")["result"]
            assert (result["text"], result["session"]["turns"]) == ("ab", turn)
        assert wire.ask("rkllm.run", {"prompt": PROMPT})["result"]["text"] == "ab", "another takes the model"
        assert wire.ask("rkllm.run", {"prompt": PROMPT}, session="kitchen")["result"]["session"]["turns"] == 3
        assert kind(wire.ask("rkllm.set_chat_template", {"prompt_prefix": "#" * ROOM})) is None
        submitted = wire.ask("server.submit", {"method": "rkllm.run", "params": {"prompt": PROMPT}})
        assert kind(submitted) in (None, "NotKept"), "it is promised, or said not to be"
    assert [path for path in caches.rglob("*") if path.is_file() and path.stat().st_size > ROOM] == []
