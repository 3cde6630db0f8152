"""File descriptors with requests (protocol, section 5): by count and in order, whatever the reads are like."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.server.descriptors.tensors import FdWire, closing, in_base64, line, memfd, output, picture, settle


def test_descriptors_go_to_messages_by_count_and_in_order(serve: Any) -> None:
    """All of them in one read: the middle message declares none, the last two."""
    daemon, context = serve()
    lines = [
        line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=1, call_id=0),
        line("server.queue", call_id=1),
        line("rknn.infer", {"context": context, "inputs": {"fd": 1}}, fds=2, call_id=2),
        line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=1, call_id=3),
    ]
    with FdWire(daemon.path) as wire:
        with closing(*(memfd(picture(number)) for number in range(4))) as fds:
            wire.send_fds(b"".join(lines), fds)
        answers = {message["id"]: message for message in (wire.receive() for _ in lines)}
    assert [output(answers[number]) for number in (0, 2, 3)] == [in_base64(picture(number)) for number in (0, 2, 3)]


def test_several_sends_with_descriptors_stay_in_order(serve: Any) -> None:
    daemon, context = serve(rknn_scenario="run_us=500")
    count = 100
    with FdWire(daemon.path) as wire:
        for number in range(count):
            with closing(memfd(picture(number))) as fds:
                request = line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=1, call_id=number)
                wire.send_fds(request, fds)
        answers = [wire.receive() for _ in range(count)]
    assert [answer["id"] for answer in answers] == list(range(count))
    assert [output(answer) for answer in answers] == [in_base64(picture(number)) for number in range(count)]


def test_descriptors_may_come_long_before_the_bytes(serve: Any) -> None:
    daemon, context = serve()
    request = line("rknn.infer", {"context": context, "inputs": {"fd": 1}}, fds=2)
    with FdWire(daemon.path) as wire:
        with closing(memfd(picture(1)), memfd(picture(2))) as fds:
            wire.send_fds(request[:1], fds)
        for start in range(1, len(request), 20):
            time.sleep(0.005)  # not a wait for anything: the parts shall come one by one
            wire.send(request[start : start + 20])
        assert output(wire.final(1)) == in_base64(picture(2))


def test_descriptors_may_come_in_several_parts_of_a_line(serve: Any) -> None:
    daemon, context = serve()
    request = line("rknn.infer", {"context": context, "inputs": {"fd": 2}}, fds=3)
    with FdWire(daemon.path) as wire:
        for number in range(3):
            with closing(memfd(picture(number))) as fds:
                wire.send_fds(request[number * 10 : number * 10 + 10], fds)
        wire.send(request[30:])
        assert output(wire.final(1)) == in_base64(picture(2))


def test_members_of_a_batch_take_theirs_in_order(serve: Any) -> None:
    daemon, context = serve()
    members = [
        line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=1, call_id=number).strip()
        for number in range(5)
    ]
    with FdWire(daemon.path) as wire:
        with closing(*(memfd(picture(number)) for number in range(5))) as fds:
            wire.send_fds(b"[" + b",".join(members) + b"]\n", fds)
        answers = {answer["id"]: answer for answer in wire.receive()}
        assert [output(answers[number]) for number in range(5)] == [in_base64(picture(n)) for n in range(5)]
        assert "result" in wire.ask("server.queue"), "and the connection lives"


def test_a_notification_takes_its_own_too(serve: Any) -> None:
    daemon, context = serve()
    notification = json.dumps({"jsonrpc": "2.0", "method": "rknn.infer", "params": {"inputs": {"fd": 0}}, "fds": 1})
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire:
        with closing(memfd(picture(1)), memfd(picture(2))) as fds:
            request = line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=1)
            wire.send_fds(notification.encode() + b"\n" + request, fds)
        assert output(wire.receive()) == in_base64(picture(2))
    settle(daemon, files)
