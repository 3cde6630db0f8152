"""What is learned: kept by its text, the newest last; what makes no sense is not trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rkllmd.store import learned
from tests.store.stores import opened, written

DEATH = {"death": "SIGABRT", "step": "rkllm_init", "lines": ["ä", "b"], "most_bytes": 7}

CRASH = {
    **dict.fromkeys(("signal", "exit_status", "call")),
    "at": "2026-11-28",
    "end": "SIGSEGV",
    "stuck": False,
    "out_of_memory": False,
    "beside": [],
    "lines": ["ä"],
}


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        learned.durations(store).put({"rkllm.run /models/a b": (123.4567, 3)})
        learned.footprints(store).put({"/models/ä": 2**40})
        learned.verdicts(store).put({"x": DEATH, "y": {}})
        learned.last_crash(store).put({learned.LAST: CRASH})
        learned.saved_caches(store).put({"/caches/ä": (1000, 2**40, 1.5), "/caches/b": (None, 0, 2.0)})
    with opened(tmp_path) as store:
        assert learned.durations(store).read() == {"rkllm.run /models/a b": (123.457, 3)}
        assert learned.footprints(store).read() == {"/models/ä": 2**40}
        assert learned.verdicts(store).read() == {"x": DEATH, "y": {}}
        assert learned.last_crash(store).read() == {learned.LAST: CRASH}
        assert learned.saved_caches(store).read() == {"/caches/ä": (1000, 2**40, 1.5), "/caches/b": (None, 0, 2.0)}


def test_what_was_written_again_is_the_newest(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        table = learned.footprints(store)
        table.put({"a": 1, "b": 2, "c": 3})
        table.put({"a": 4, "b": None})
        table.put({})
        written(store)
        assert list(table.read().items()) == [("c", 3), ("a", 4)]


@pytest.mark.parametrize(
    "row",
    [
        "durations VALUES ('x', -1, 1)",
        "saved_caches VALUES ('/x', 1000, -1, 0)",
        "durations VALUES ('x', 1, 0)",
        "durations VALUES ('x', 9e999, 1)",
        "durations VALUES ('x', 'a', 1)",
        "footprints VALUES ('x', 0)",
        "footprints VALUES ('x', x'00')",
        "verdicts VALUES ('x', '{')",
        """last_crash VALUES (1, '{"end": "SIGSEGV"}')""",
        "verdicts VALUES ('x', '[]x')",
        "verdicts VALUES ('x', '[1]')",
        """verdicts VALUES ('x', '{"death": "SIGABRT"}')""",
    ],
)
def test_a_row_that_makes_no_sense_is_not_trusted(tmp_path: Path, row: str) -> None:
    with opened(tmp_path) as store, capture_logs() as logs:
        store.write((f"INSERT INTO {row}", ()))
        store.write(("INSERT INTO footprints VALUES ('good', 5)", ()))
        written(store)
        assert learned.durations(store).read() == {}
        assert learned.last_crash(store).read() == {}
        assert learned.footprints(store).read() == {"good": 5}
        assert learned.verdicts(store).read() == {}
        assert learned.saved_caches(store).read() == {}
        assert [line["event"] for line in logs] == ["store_row_not_read"]
