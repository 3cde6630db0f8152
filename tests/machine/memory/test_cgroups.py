"""What control groups of both versions say: limits, and what of them is left."""

from __future__ import annotations

import pytest

from rkllmd.machine.memory.cgroups import rooms
from rkllmd.machine.memory.room import Room
from rkllmd.machine.platform import Platform

UNLIMITED_V1 = "9223372036854771712\n"


def found(own: str, files: dict[str, str]) -> list[Room]:
    return rooms({"proc/self/cgroup": own, **files}.get)


def v2(group: str, most: str, used: int, high: str = "max", cached: int = 0) -> dict[str, str]:
    folder = f"sys/fs/cgroup{group}"
    return {
        f"{folder}/memory.max": f"{most}\n",
        f"{folder}/memory.high": f"{high}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {cached}\nactive_file 900\n",
    }


def v1(group: str, most: str, used: int, cached: int = 0) -> dict[str, str]:
    folder = f"sys/fs/cgroup/memory{group}"
    return {
        f"{folder}/memory.limit_in_bytes": most,
        f"{folder}/memory.usage_in_bytes": f"{used}\n",
        f"{folder}/memory.stat": f"cache 900\ninactive_file 1\ntotal_inactive_file {cached}\n",
    }


def test_every_group_around_the_process_counts() -> None:
    files = {**v2("/a/b/c", "1000", 300, cached=50), **v2("/a/b", "max", 10), **v2("/a", "800", 700)}
    files.pop("sys/fs/cgroup/a/memory.stat")
    assert found("0::/a/b/c\n", files) == [
        Room("the control group /a/b/c", 1000, 750),
        Room("the control group /a", 800, 100),
    ]


def test_what_is_slowed_down_to_a_halt_is_as_full() -> None:
    assert found("0::/a\n", v2("/a", "1000", 100, high="500")) == [Room("the control group /a", 500, 400)]
    assert found("0::/a\n", v2("/a", "1000", 900, high="500")) == [Room("the control group /a", 500, 0)]
    assert found("0::/a\n", v2("/a", "1000", 100, cached=400)) == [Room("the control group /a", 1000, 1000)]


def test_version_1_in_its_own_tree() -> None:
    own = "12:pids:/x\n4:memory,hugetlb:/a/b\n1:name=systemd:/a\n0::/\n"
    files = {**v1("/a/b", "1000\n", 300, cached=100), **v1("/a", UNLIMITED_V1, 5), **v1("", UNLIMITED_V1, 5)}
    assert found(own, files) == [Room("the control group /a/b", 1000, 800)]


@pytest.mark.parametrize("path", ["/", "/of/the/machine", "/../.."])
def test_in_a_container_its_own_group_is_the_outermost(path: str) -> None:
    assert found(f"0::{path}\n", v2("", "1000", 300)) == [Room("the control group /", 1000, 700)]


@pytest.mark.parametrize("own", ["", "nonsense", "0::", "0::/a\n", "::\n", "4:memory:/a\n0::/a\n"])
def test_where_nothing_is_said_nothing_is_known(own: str) -> None:
    assert found(own, {}) == []
    assert found(own, {"sys/fs/cgroup/a/memory.max": "1000", "sys/fs/cgroup/a/memory.current": "-5"}) == []


def test_this_machine() -> None:
    assert all(0 <= room.available_bytes <= room.total_bytes for room in rooms(Platform().read))
