"""Results by descriptor: whose they are, in which order, and that all go."""

from __future__ import annotations

import fcntl
import os
import time
from typing import Any

import pytest

from tests.server.descriptors.tensors import (
    ALL_SEALS,
    F_GET_SEALS,
    SIZE,
    FdWire,
    closing,
    in_base64,
    line,
    memfd,
    picture,
    refused,
    settle,
)
from tests.wire_connection import kind


def contents(fd: int) -> bytes:
    """Return what a file holds."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


def test_outputs_by_descriptor_are_sealed_and_hold_the_bytes(serve: Any) -> None:
    daemon, context = serve()
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire:
        with closing(memfd(picture(7))) as fds:
            answer = wire.call("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds, reply_fds=True)
        assert answer["fds"] == len(wire.fds) == 1
        found = answer["result"]["outputs"][0]
        assert (found["fd"], found["size"], found["dtype"], found["shape"]) == (0, SIZE, "uint8", [1, SIZE])
        assert contents(wire.fds[0]) == picture(7)
        assert fcntl.fcntl(wire.fds[0], F_GET_SEALS) == ALL_SEALS
        settle(daemon, files + 1)  # the daemon keeps none, only the connection is there


def _memory(wire: FdWire, context: int, size: int) -> tuple[int, bytes]:
    """Return a memory and what it holds: no two parts of it are the same."""
    data = b"".join(number.to_bytes(4, "little") for number in range(size // 4))
    mem = wire.ask("rknn.create_mem", {"ctx": context, "size": size})["result"]["mem"]
    with closing(memfd(data)) as fds:
        answer = wire.call("rknn.mem_sync", {"mem": mem, "mode": 1, "data": {"fd": 0}}, fds)
    assert "result" in answer
    return mem, data


def test_answers_with_and_without_descriptors_stay_in_order_for_a_slow_reader(serve: Any) -> None:
    """Far more than the kernel takes at once, read in small pieces: each line has its descriptors when it is whole."""
    daemon, context = serve()
    count, part = 60, 30_000
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire:
        mem, data = _memory(wire, context, 1 << 20)
        params = {"mem": mem, "mode": 2, "read": True, "size": part}
        for number in range(count):
            wire.request(
                "rknn.mem_sync", {**params, "offset": number * 1000}, call_id=number, reply_fds=number % 3 != 0
            )
        time.sleep(0.2)  # not a wait for anything: the daemon gets ahead of who reads slowly
        wire.read_bytes = 3000
        for number in range(count):
            answer = wire.receive()
            assert answer["id"] == number
            expected = data[number * 1000 : number * 1000 + part]
            if number % 3:
                assert answer["fds"] == 1
                with closing(wire.fds.pop(0)) as (fd,):
                    assert contents(fd) == expected
            else:
                assert "fds" not in answer
                assert answer["result"]["data"] == in_base64(expected)
        assert wire.fds == []
        settle(daemon, files + 2)  # the connection and the memory


def test_a_long_line_with_descriptors_has_them_once(serve: Any) -> None:
    """Two outputs' descriptors go with the first byte of a line that takes several sends."""
    daemon, _ = serve()
    shapes = "|".join(["1,1,1,16"] * 8)
    model = "RKNNSIM\n" + "".join(f"input name=i{n} type=int8 dims={shapes}\n" for n in range(1))
    model += "".join(f"output name={'o' * 200}{n} type=int8 dims={shapes}\n" for n in range(100))
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire:
        with closing(memfd(model.encode())) as fds:
            answer = wire.call("rknn.init", {"model": {"fd": 0}}, fds)
        context = answer["result"]["context"]
        for number in range(30):
            params = {"context": context, "inputs": {"data": in_base64(bytes(16)), "dtype": "int8"}}
            wire.request("rknn.infer", params, call_id=number, reply_fds=True)
        time.sleep(0.2)  # not a wait for anything: the daemon gets ahead of who reads slowly
        wire.read_bytes = 10_000
        for number in range(30):
            answer = wire.receive()
            assert (answer["id"], answer["fds"]) == (number, 100)
            with closing(*wire.fds[:100]) as fds:
                assert [len(contents(fd)) for fd in fds] == [16] * 100
            del wire.fds[:100]
        settle(daemon, files + 1)


def test_clients_that_go_before_their_answers_leave_nothing_behind(serve: Any) -> None:
    daemon, context = serve()
    files = daemon.settled()[0]
    for number in range(20):
        with FdWire(daemon.path) as wire:
            mem, _ = _memory(wire, context, 1 << 16)
            for call_id in range(50):
                params = {"mem": mem, "mode": 2, "read": True}
                wire.request("rknn.mem_sync", params, call_id=call_id, reply_fds=True)
            time.sleep(0.001 * number)  # not a wait for anything: each round goes at another moment
    settle(daemon, files)


def test_a_half_closed_client_still_gets_descriptors(serve: Any) -> None:
    daemon, context = serve(rknn_scenario="delay.rknn_run=50")
    with FdWire(daemon.path) as wire:
        with closing(memfd(picture(1)), memfd(picture(2))) as fds:
            for number in range(2):
                wire.send_fds(
                    line(
                        "rknn.infer",
                        {"context": context, "inputs": {"fd": 0}},
                        fds=1,
                        call_id=number,
                        reply_fds=True,
                    ),
                    [fds[number]],
                )
            wire.half_close()
        answers = wire.receive_all()
        assert [answer["id"] for answer in answers] == [0, 1]
        assert [contents(fd) for fd in wire.fds] == [picture(1), picture(2)]


@pytest.mark.parametrize("value", [1, "yes", [True]])
def test_the_member_reply_fds_is_a_boolean(serve: Any, value: Any) -> None:
    with FdWire(serve()[0].path) as wire:
        answer = wire.ask("server.queue", reply_fds=value)
        assert (
            refused(answer)
            == 'The member "reply_fds" must be true or false, and only a request outside a batch may have it.'
        )


def test_a_batch_can_t_ask_for_descriptors(serve: Any) -> None:
    with FdWire(serve()[0].path) as wire:
        wire.send(b"[" + line("server.queue", reply_fds=True).strip() + b"]\n")
        assert [kind(answer) for answer in wire.receive()] == ["InvalidParams"]
