"""However much one user takes of what is limited, another finds room."""

from __future__ import annotations

from typing import Any

from tests.daemon import Start, until
from tests.server.limits.users import ANNA, BERTA, Connect, only_root
from tests.wire_connection import Wire, kind

pytestmark = only_root


def error_of(answer: dict[str, Any]) -> dict[str, Any]:
    return dict(answer["error"]["data"])


def memory(wire: Wire, context: int, **more: Any) -> dict[str, Any]:
    return wire.ask("rknn.create_mem", {"ctx": context, "size": 1, **more})


def test_kept_objects_count_for_their_user_and_connections_that_have_gone_for_nobody(
    start: Start, connect: Connect
) -> None:
    daemon = start("--max-handles", "16", "--max-handles-per-user", "8")
    operator = connect(daemon, 0)
    context = operator.ask("rknn.init", {"model_path": str(daemon.model), "keep": True})["result"]["context"]
    for _ in range(3):  # as many as a user may have, each time
        with connect(daemon, ANNA) as wire:
            assert [kind(memory(wire, context)) for _ in range(9)] == [None] * 8 + ["PermissionDenied"]
        until("it has gone", lambda: operator.ask("server.status")["result"]["clients"] == 1)
    with connect(daemon, ANNA) as anna, connect(daemon, ANNA) as again, connect(daemon, BERTA) as berta:
        for _ in range(8):
            assert kind(memory(anna, context, keep=True)) is None
        data = error_of(memory(again, context))
        assert data["setting"] == "max_handles_per_user"
        assert (data["limit"], data["used"], data["whose"]) == (8, 8, "user")
        found = [memory(berta, context) for _ in range(7)]
        assert [kind(answer) for answer in found] == [None] * 6 + ["PermissionDenied"]
        assert error_of(found[-1])["whose"] == "all", "the last one is for operators"
        assert kind(memory(connect(daemon, 0), context)) is None


def test_a_users_bytes_of_tensor_memory(start: Start, connect: Connect) -> None:
    daemon = start("--max-memory-bytes", str(2**20), "--max-memory-bytes-per-user", str(2**19))
    context = connect(daemon, 0).ask("rknn.init", {"model_path": str(daemon.model), "keep": True})["result"]["context"]
    with connect(daemon, ANNA) as anna, connect(daemon, BERTA) as berta:
        assert kind(memory(anna, context, size=2**19, keep=True)) is None
        answer = memory(anna, context)
        assert (kind(answer), error_of(answer)["setting"]) == ("OutOfMemory", "max_memory_bytes_per_user")
        assert kind(memory(berta, context, size=2**18)) is None


def test_connections_that_came_and_went_are_not_counted(start: Start, connect: Connect) -> None:
    daemon = start("--max-connections", "12", "--max-connections-per-user", "4")
    for _ in range(60):
        connect(daemon, ANNA).socket.close()
    assert kind(connect(daemon, ANNA).ask("server.status")) is None
