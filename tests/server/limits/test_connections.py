"""However many connections one user opens, others are served, and operators first of all."""

from __future__ import annotations

import sys

from tests.daemon import ENDLESS, Start
from tests.server.limits import impatient
from tests.server.limits.users import ANNA, BERTA, Connect, only_root
from tests.wire_connection import Wire, kind

LIMITS = ("--max-connections", "12", "--max-connections-per-user", "8", "--reserved-connections", "2")
IMPATIENT = (sys.executable, impatient.__file__)

pytestmark = only_root


def is_served(wire: Wire) -> bool:
    return kind(wire.ask("server.status")) is None


def test_a_user_that_opens_too_many_is_refused_and_others_are_served(start: Start, connect: Connect) -> None:
    daemon = start(*LIMITS)
    silent = [connect(daemon, ANNA) for _ in range(8)]
    refused = connect(daemon, ANNA).receive()
    assert kind(refused) == "QueueFull"
    assert "max_connections_per_user" in refused["error"]["message"]
    assert refused["error"]["data"]["limit"] == 8
    assert all(is_served(connect(daemon, BERTA)) for _ in range(2))
    assert kind(connect(daemon, BERTA).receive()) == "QueueFull", "the rest is the operators'"
    assert all(is_served(connect(daemon, 0)) for _ in range(2))
    assert all(is_served(wire) for wire in silent), "those before live on"


def test_an_operator_of_the_configuration_has_the_reserve_too(start: Start, connect: Connect) -> None:
    daemon = start(*LIMITS, "--operator-users", str(BERTA))
    for _ in range(8):
        connect(daemon, ANNA)
    assert all(is_served(connect(daemon, BERTA)) for _ in range(4))


def test_who_has_nothing_open_makes_room_and_who_has_something_does_not(start: Start, connect: Connect) -> None:
    daemon = start(*LIMITS, scenario=ENDLESS, launcher=IMPATIENT)
    daemon.load(max_new_tokens=0)
    idle = connect(daemon, ANNA)
    assert is_served(idle)
    running, watching, holding = (connect(daemon, ANNA) for _ in range(3))
    holding.ask("rknn.init", {"model_path": str(daemon.model)})
    running.request("rkllm.run_async", {"prompt_input": "x", "stream": "final"}, "run")
    daemon.wait_enter("rkllm_run_async")
    watching.ask("server.watch", {"events": ["job"]})
    for _ in range(20):  # each takes the place of one that is idle
        assert is_served(connect(daemon, ANNA))
    assert idle.receive() is None, "the end of file, and no error: it has lost nothing"
    assert all(is_served(wire) for wire in (watching, holding))
    running.request("rkllm.abort", {}, "abort")
    assert kind(running.final("run")) is None


def test_refused_connections_do_not_fill_the_log(start: Start, connect: Connect) -> None:
    daemon = start(*LIMITS)
    for _ in range(8):
        connect(daemon, ANNA)
    for _ in range(400):
        with connect(daemon, ANNA) as wire:
            assert kind(wire.receive()) == "QueueFull"
    with daemon.connect() as wire:
        left_out = wire.ask("server.status")["result"]["log"]["left_out"]
    refused = daemon.events("too_many_connections")
    assert len(refused) + left_out == 400
    assert refused[0]["uid"] == ANNA
    assert left_out, "the machine took longer than a window for each of the two hundred"
