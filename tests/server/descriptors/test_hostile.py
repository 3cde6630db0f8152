"""Hostile descriptors at random: each is answered, the next good request too, and nothing is left."""

from __future__ import annotations

import os
import random
from typing import Any

from tests.daemon import Daemon
from tests.server.descriptors.attacker import Attacker, Round
from tests.server.descriptors.tensors import (
    LOST,
    SIZE,
    FdWire,
    closing,
    in_base64,
    memfd,
    output,
    picture,
    refused,
    settle,
)
from tests.wire_connection import kind

# For the long run: RKLLMD_FD_ROUNDS=10000; without it the rounds are always the same.
ROUNDS = int(os.environ.get("RKLLMD_FD_ROUNDS", "400"))
SEED = random.SystemRandom().randrange(1 << 32) if "RKLLMD_FD_ROUNDS" in os.environ else 1


def _play(daemon: Daemon, wire: FdWire, attack: Round, name: str) -> FdWire:
    """Send a round, judge what comes back; return the connection to go on with."""
    try:
        for data, fds in attack.sends:
            wire.send_fds(data, fds)
    except (BrokenPipeError, ConnectionResetError):
        assert attack.is_closed, name
    if attack.after is not None:
        attack.after()
    if attack.goes:
        wire.__exit__()
        return FdWire(daemon.path)
    if attack.is_closed:
        messages = wire.receive_all()
        wire.__exit__()
        answers = _by_id(messages)
        lost = [message for message in messages if isinstance(message, dict) and message["id"] is None]
        assert any(LOST in refused(message) for message in lost), (name, messages)
    else:
        answers = {}
        while not answers.keys() >= set(attack.ids):
            message = wire.receive()
            assert message is not None, (name, attack, answers)
            answers |= _by_id([message])
    assert answers.keys() == set(attack.ids), (name, answers)
    kinds = {call_id: kind(answer) for call_id, answer in answers.items()}
    assert all(kinds[call_id] == "InvalidParams" for call_id in attack.wrong), (name, attack, answers)
    assert not {"InternalError", "DaemonFault"} & set(kinds.values()), (name, answers)
    return FdWire(daemon.path) if attack.is_closed else wire


def _by_id(messages: list[Any]) -> dict[Any, Any]:
    flat = [item for message in messages for item in (message if isinstance(message, list) else [message])]
    return {message["id"]: message for message in flat if message["id"] is not None}


def test_hostile_descriptors(serve: Any) -> None:
    """Whatever comes, it is answered, the next good request too, and nothing is left of it."""
    daemon, context = serve("--log-level", "2")
    daemon.load()
    with FdWire(daemon.path) as wire:
        mem = wire.ask("rknn.create_mem", {"ctx": context, "size": SIZE, "keep": True})["result"]["mem"]
        assert output(_good(wire, context, 0)) == in_base64(picture(0))
    files = daemon.settled()[0]
    attacker = Attacker(daemon, context, mem, random.Random(SEED))
    wire = FdWire(daemon.path)
    for number in range(ROUNDS):
        name, attack = attacker.next()
        where = f"round {number} of seed {SEED}: {name}"
        wire = _play(daemon, wire, attack, where)
        attacker.close()
        assert output(_good(wire, context, number)) == in_base64(picture(number)), where
        if number % 50 == 49:  # what it has made goes with it
            wire.__exit__()
            wire = FdWire(daemon.path)
    wire.ask("rknn.destroy_mem", {"mem": mem}, "end")
    wire.ask("rknn.destroy", {"context": context}, "end")
    wire.__exit__()
    assert daemon.process.poll() is None
    settle(daemon, files - 1)  # the memory's own
    with daemon.connect() as other:
        status = other.ask("server.status")["result"]
    assert (status["contexts"], status["memories"], status["clients"]) == ([], [], 1)
    assert daemon.faults() == []


def _good(wire: FdWire, context: int, number: int) -> Any:
    with closing(memfd(picture(number))) as fds:
        return wire.call("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds, call_id="good")
