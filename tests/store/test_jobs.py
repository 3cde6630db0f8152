"""The table of jobs: what is read is what was written, in the order that counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rkllmd.store.jobs import KeptJob, KeptJobs
from rkllmd.store.store import Store, nobody_waits
from tests.store.stores import opened, written


def job(name: str, **more: object) -> KeptJob:
    return replace(KeptJob(name, 1000, 7, "job of client 7", "rkllm.run", b"{}"), **more)  # type: ignore[arg-type] # by name


def test_a_job_is_read_as_it_was_submitted(tmp_path: Path) -> None:
    whole = job("a", model=3, is_bound=True, retry=True, request=bytes(range(256)))
    nobodys = job("b", user=None)
    with opened(tmp_path) as store:
        told: list[str | None] = []
        KeptJobs(store).add(whole, told.append)
        KeptJobs(store).add(nobodys, told.append)
        assert store.wait(seconds=60, durable=True) is None
        assert told == [None, None]
    with opened(tmp_path) as store:
        assert KeptJobs(store).read() == [whole, nobodys]


def test_its_life(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        jobs = KeptJobs(store)
        for name in ("a", "b", "c", "d"):
            jobs.add(job(name), nobody_waits)
        jobs.begin("a")
        assert jobs.read()[0] == job("a", begun=1, is_waiting=False), "written when begin returns"
        jobs.wait_again("a")
        jobs.begin("b")
        jobs.end("b", 12.5, [b'{"text":', b'"x"}'], None)
        jobs.begin("a")
        jobs.end("a", 1.0, None, b'{"code":1}')
        jobs.forget("c")
        written(store)
        ended = [
            job("b", begun=1, is_waiting=False, request=None, elapsed_ms=12.5, result=b'{"text":"x"}'),
            job("a", begun=2, is_waiting=False, request=None, elapsed_ms=1.0, error=b'{"code":1}'),
        ]
        assert jobs.read() == [*ended, job("d")], "the ends in their order, then those that wait"
        assert [item.has_ended for item in jobs.read()] == [True, True, False]


def test_without_a_place_they_are_not_lasting() -> None:
    jobs = KeptJobs(Store())
    told: list[str | None] = []
    jobs.add(job("a"), told.append)
    jobs.begin("a")
    assert (told, jobs.read(), jobs.is_lasting) == ([None], [], False)
