"""File descriptors with requests and answers (protocol, section 5): whose they are, in which order, and that all go."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import random
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import SEEN_SECONDS, Daemon, Wire, kind

Start = Callable[..., Daemon]

# For the long run: RKLLMD_FD_ROUNDS=10000; without it the rounds are always the same.
ROUNDS = int(os.environ.get("RKLLMD_FD_ROUNDS", "400"))
SEED = random.SystemRandom().randrange(1 << 32) if "RKLLMD_FD_ROUNDS" in os.environ else 1

# fcntl(2), which Python 3.11 does not name.
F_ADD_SEALS, F_GET_SEALS = 1033, 1034
SHRINK, WRITE, ALL_SEALS = 0x2, 0x8, 0xF
O_CLOEXEC = 0o2000000
MOST = 16  # descriptors of one message
MOST_WAITING = 64

SIZE = 48
# Its output is its input, byte for byte.
MODEL = "RKNNSIM\ninput name=image type=uint8 dims=1,4,4,3\noutput name=copy type=uint8 dims=1,48\n"
LOST = "The connection is closed."


class FdWire(Wire):
    """A connection that takes descriptors too: in ``fds``, as they come."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.fds: list[int] = []
        self.read_bytes = 1 << 20

    def __exit__(self, *exception: object) -> None:
        self.close_fds()
        super().__exit__(*exception)

    def close_fds(self) -> None:
        """Close what came."""
        while self.fds:
            os.close(self.fds.pop())

    def send_fds(self, data: bytes, fds: Sequence[int]) -> None:
        """Send bytes, descriptors with the first of them."""
        sent = socket.send_fds(self.socket, [data], fds) if fds else 0
        if sent < len(data):
            self.socket.sendall(data[sent:])

    def receive(self) -> Any:
        """Return the next message; its descriptors have come by then."""
        while not self._lines:
            try:
                data, fds, flags, _ = socket.recv_fds(self.socket, self.read_bytes, 253)
            except ConnectionResetError:
                return None
            assert not flags & socket.MSG_CTRUNC
            self.fds += fds
            if not data:
                return None
            *self._lines, self._rest = (self._rest + data).split(b"\n")
        return json.loads(self._lines.pop(0))

    def call(self, method: str, params: Any = None, fds: Sequence[int] = (), call_id: Any = 1, **more: Any) -> Any:
        """Send a request with descriptors and return its answer."""
        self.send_fds(line(method, params, fds=len(fds), call_id=call_id, **more), fds)
        return self.final(call_id)


def line(method: str, params: Any = None, fds: Any = 0, call_id: Any = 1, **more: Any) -> bytes:
    """Return the line of a request that declares ``fds`` descriptors."""
    message = {"jsonrpc": "2.0", "id": call_id, "method": method, **more}
    if params is not None:
        message["params"] = params
    if fds != 0:
        message["fds"] = fds
    return json.dumps(message).encode() + b"\n"


def memfd(data: bytes = b"", size: int | None = None, seals: int = SHRINK, name: str = "tensor") -> int:
    """Return a memfd with these contents, as long as ``size`` says."""
    fd = os.memfd_create(name, os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(fd, data)
    if size is not None:
        os.ftruncate(fd, size)
    if seals:
        fcntl.fcntl(fd, F_ADD_SEALS, seals)
    return fd


def reopened(fd: int, flags: int) -> int:
    """Return another descriptor of the same file, opened with ``flags``; closes the first."""
    try:
        return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)
    finally:
        os.close(fd)


@contextlib.contextmanager
def closing(*fds: int) -> Iterator[list[int]]:
    """Close the descriptors at the end."""
    try:
        yield list(fds)
    finally:
        for fd in fds:
            os.close(fd)


def picture(number: int) -> bytes:
    """Return an input that no other number has."""
    return bytes((number + index) % 256 for index in range(SIZE))


def output(answer: dict[str, Any]) -> str:
    """Return the output of rknn.infer, in base64."""
    return str(answer["result"]["outputs"][0]["data"])


def in_base64(data: bytes) -> str:
    """Return what an answer says of these bytes."""
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def shared(start_for_module: Start) -> tuple[Daemon, int]:
    """Return the daemon of those tests that need no scenario, and its model."""
    return _loaded(start_for_module())


@pytest.fixture
def serve(start: Start, shared: tuple[Daemon, int]) -> Callable[..., tuple[Daemon, int]]:
    """Return a daemon and a model that everybody may use; one of its own with a scenario: ``serve(scenario=…)``."""
    # Not between tokens: without trace_callbacks the trace does not tell when a callback waits.
    alone = ("--between-tokens", "never")
    return lambda *arguments, **options: (
        _loaded(start(*alone, *arguments, **options)) if arguments or options else shared
    )


def _loaded(daemon: Daemon) -> tuple[Daemon, int]:
    path = daemon.directory / "copy.rknn"
    path.write_text(MODEL)
    with FdWire(daemon.path) as wire:
        return daemon, int(wire.ask("rknn.init", {"model_path": str(path), "keep": True})["result"]["context"])


def _links(daemon: Daemon) -> list[str]:
    """Return what the daemon has open."""
    links = []
    for entry in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(entry))
    return links


def settle(daemon: Daemon, files: int) -> None:
    """Wait until the daemon has as many files open as ``files`` says, and nobody is connected."""
    deadline = time.monotonic() + SEEN_SECONDS
    while daemon.open_files() != files:
        assert time.monotonic() < deadline, f"{files} files were open, now {daemon.open_files()}: {_links(daemon)}"
        time.sleep(0.01)


# -- which descriptor belongs to which message -----------------------------------------------------------------------


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


# -- what is refused, in which words, and what becomes of the connection ----------------------------------------------


def refused(answer: dict[str, Any]) -> str:
    """Return what the error of a wrong request says."""
    assert kind(answer) in ("InvalidParams", "InvalidRequest", "ParseError"), answer
    error = answer["error"]
    return str(error["data"].get("detail", error["message"]))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: os.open("/tmp", os.O_RDONLY), "is neither a memfd nor a dma-buf"),
        (lambda: os.open("/dev/zero", os.O_RDWR), "is neither a memfd nor a dma-buf"),
        (lambda: os.eventfd(0), "is neither a memfd nor a dma-buf"),
        (lambda: os.open(__file__, os.O_RDONLY), "is a file on a disk, which its owner may cut short: send a memfd"),
        (lambda: memfd(picture(1), seals=0), "is not sealed against shrinking (F_SEAL_SHRINK)"),
        (lambda: memfd(picture(1), seals=WRITE), "is not sealed against shrinking (F_SEAL_SHRINK)"),
        (lambda: memfd(size=1 << 40), "can't be mapped for reading and writing"),
    ],
    ids=["directory", "device", "eventfd", "file", "unsealed", "sealed otherwise", "1 TiB"],
)
def test_what_could_not_be_mapped_without_danger_is_refused(serve: Any, make: Callable[[], int], why: str) -> None:
    daemon, context = serve()
    with FdWire(daemon.path) as wire, closing(make()) as fds:
        answer = wire.call("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds)
        assert f"$.inputs: the file descriptor {why}" in refused(answer)
        assert "result" in wire.ask("server.queue"), "it was declared and has come: the connection lives"


def test_a_huge_page_file_is_refused(serve: Any) -> None:
    """A hole in it may be impossible to fill (SIGBUS), and holes can be made in spite of F_SEAL_SHRINK."""
    daemon, context = serve()
    with FdWire(daemon.path) as wire:
        try:
            fd = os.memfd_create("huge", os.MFD_HUGETLB | os.MFD_ALLOW_SEALING)
        except OSError:
            pytest.skip("this kernel has no huge pages")
        with closing(fd) as fds:
            os.ftruncate(fd, 2 << 20)
            fcntl.fcntl(fd, F_ADD_SEALS, SHRINK)
            answer = wire.call("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds)
        assert "is made of huge pages" in refused(answer)


@pytest.mark.parametrize("seals", [SHRINK, SHRINK | WRITE, ALL_SEALS])
@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_RDONLY])
def test_more_seals_and_reading_only_are_welcome(serve: Any, seals: int, flags: int) -> None:
    daemon, context = serve()
    with FdWire(daemon.path) as wire, closing(reopened(memfd(picture(3), seals=seals), flags)) as fds:
        answer = wire.call("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds)
        assert output(answer) == in_base64(picture(3))
        answer = wire.call("rknn.create_mem_from_fd", {"ctx": context, "fd": {"fd": 0}, "size": SIZE}, fds)
        assert (kind(answer) is None) == (flags == os.O_RDWR and not seals & WRITE), "that one is shared, both ways"


@pytest.mark.parametrize("count", [-1, MOST + 1, True, "1", 1.5, None, [1], 2**63])
def test_the_member_fds_is_a_small_number(serve: Any, count: Any) -> None:
    with FdWire(serve()[0].path) as wire:
        wire.send(line("server.queue", fds=count))
        assert refused(wire.final(1)) == f'The member "fds" is a number from 0 to {MOST}.'
        assert "result" in wire.ask("server.queue"), "none came: the connection lives"


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_fewer_than_declared(serve: Any, sent: int) -> None:
    daemon, context = serve()
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire:
        with closing(*(memfd(picture(1)) for _ in range(sent))) as fds:
            wire.send_fds(line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=3), fds)
        assert refused(wire.receive()) == f"The request declares 3 file descriptors, {sent} came with it."
        if sent:  # whose are they?
            assert LOST in refused(wire.receive())
            assert wire.receive() is None
        else:
            assert "result" in wire.ask("server.queue")
    settle(daemon, files)


def test_undeclared_ones_end_the_connection_when_all_is_answered(serve: Any) -> None:
    daemon, context = serve(rknn_scenario="hold.rknn_run=1")
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire:
        with closing(memfd(picture(5))) as fds:
            wire.send_fds(line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=1, call_id="slow"), fds)
            daemon.wait_enter("rknn_run")
            wire.send_fds(line("server.queue", call_id="no fds"), fds)
        messages = [wire.receive(), wire.receive()]
        daemon.let_go()
        messages += wire.receive_all()
    assert [message["id"] for message in messages] == ["no fds", None, "slow"], "then it is closed"
    assert messages[1]["error"]["code"] == -32600
    assert refused(messages[1]) == f"File descriptors came that no message declares in its member fds. {LOST}"
    assert output(messages[2]) == in_base64(picture(5))
    settle(daemon, files)


def test_nothing_is_taken_any_more_after_undeclared_ones(serve: Any) -> None:
    daemon, _ = serve()
    with FdWire(daemon.path) as wire:
        with closing(memfd(picture(5))) as fds:
            wire.send_fds(line("server.queue", call_id=1), fds)
            with contextlib.suppress(BrokenPipeError):
                wire.send_fds(line("server.queue", fds=1, call_id=2), fds)
        assert [message["id"] for message in wire.receive_all()] == [1, None]


@pytest.mark.parametrize("count", [MOST + 1, 100, 253])
def test_too_many_in_one_message_are_fatal(serve: Any, count: int) -> None:
    daemon, context = serve()
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire:
        with closing(memfd(picture(1))) as fds:
            request = line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=1)
            wire.send_fds(request, fds * count)
        first, second = wire.receive_all()
    limit = f"A message brings at most {MOST} file descriptors, and {MOST_WAITING} may wait. {LOST}"
    assert (first["id"], refused(first)) == (None, limit)
    assert (first["error"]["code"], first["error"]["data"]["limit"]) == (-32600, MOST)
    assert refused(second) == "The request declares 1 file descriptors, 0 came with it."
    settle(daemon, files)


def test_the_most_that_a_message_may_bring(serve: Any) -> None:
    daemon, context = serve()
    with FdWire(daemon.path) as wire, closing(*(memfd(picture(number)) for number in range(MOST))) as fds:
        answer = wire.call("rknn.infer", {"context": context, "inputs": {"fd": MOST - 1}}, fds)
        assert output(answer) == in_base64(picture(MOST - 1))


def test_too_many_that_wait_are_fatal(serve: Any) -> None:
    daemon, _ = serve()
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire:
        with closing(*(memfd(picture(1)) for _ in range(MOST))) as fds:
            for _ in range(MOST_WAITING // MOST):
                wire.send_fds(b" ", fds)
            with contextlib.suppress(BrokenPipeError):
                wire.send_fds(b" ", fds)
        assert [LOST in refused(message) for message in wire.receive_all()] == [True]
    settle(daemon, files)


@pytest.mark.parametrize(
    "text", [b'{"jsonrpc":', b'{"jsonrpc":"2.0","method":1,"fds":1}', b'{"result":1,"id":1,"fds":1}']
)
def test_descriptors_of_a_message_that_can_t_be_read_end_the_connection(serve: Any, text: bytes) -> None:
    daemon, _ = serve()
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire:
        with closing(memfd(picture(1))) as fds:
            wire.send_fds(text + b"\n", fds)
        *_, last = wire.receive_all()
    assert refused(last) == (f"File descriptors came, and a message that may have declared them can't be read. {LOST}")
    settle(daemon, files)


@pytest.mark.parametrize("index", [-1, 1, 2**63, True, "0", 0.5, None, [0]])
def test_an_index_counts_what_came(serve: Any, index: Any) -> None:
    daemon, context = serve()
    with FdWire(daemon.path) as wire, closing(memfd(picture(1))) as fds:
        answer = wire.call("rknn.infer", {"context": context, "inputs": {"fd": index}}, fds)
        assert refused(answer) == "$.inputs.fd counts the descriptors that came with the request, from 0; 1 came."
        assert "result" in wire.ask("server.queue")


@pytest.mark.parametrize(
    "span",
    [
        {"offset": 1},
        {"offset": SIZE},
        {"offset": -1},
        {"size": SIZE + 1},
        {"size": 0},
        {"size": -1},
        {"offset": 2**63},
        {"size": 2**64},
        {"offset": 0.0},
        {"size": True},
        {"size": "48"},
        {"offset": 1, "size": SIZE},
    ],
    ids=str,
)
def test_offset_and_size_lie_within_the_file(serve: Any, span: dict[str, Any]) -> None:
    daemon, context = serve()
    with FdWire(daemon.path) as wire, closing(memfd(picture(1))) as fds:
        answer = wire.call("rknn.infer", {"context": context, "inputs": {"fd": 0, **span}}, fds)
        assert refused(answer).startswith("$.inputs")


def test_a_part_of_a_file(serve: Any) -> None:
    daemon, context = serve()
    with FdWire(daemon.path) as wire, closing(memfd(b"x" * 4097 + picture(9) + b"x")) as fds:
        part = {"fd": 0, "offset": 4097, "size": SIZE, "dtype": "uint8", "shape": [1, 4, 4, 3]}
        assert output(wire.call("rknn.infer", {"context": context, "inputs": part}, fds)) == in_base64(picture(9))


def test_a_model_of_four_gibibytes_is_not_taken_for_a_path(serve: Any) -> None:
    """C's size is 32 bits wide, and size 0 says that the bytes are a path: of any file, whatever is allowed."""
    daemon, _ = serve()
    path = str(daemon.directory / "copy.rknn").encode()
    with FdWire(daemon.path) as wire, closing(memfd(path + b"\0", size=1 << 32)) as fds:
        assert kind(wire.call("rknn.init", {"model": {"fd": 0}}, fds)) == "InvalidParams"


def test_an_empty_model_is_not_taken_for_a_path(serve: Any) -> None:
    with FdWire(serve()[0].path) as wire:
        assert kind(wire.ask("rknn.init", {"model": {"data": ""}})) == "InvalidParams"


# -- what the daemon does with them ----------------------------------------------------------------------------------


def test_received_descriptors_are_closed_on_exec(serve: Any) -> None:
    daemon, context = serve(rknn_scenario="hold.rknn_inputs_set=1")
    with FdWire(daemon.path) as wire:
        with closing(memfd(picture(1), name="rkllmd-cloexec")) as fds:
            wire.send_fds(line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=1), fds)
        daemon.wait_enter("rknn_inputs_set")
        process = Path(f"/proc/{daemon.process.pid}")
        held = [entry for entry in (process / "fd").iterdir() if "rkllmd-cloexec" in os.readlink(entry)]
        flags = [_flags(process / "fdinfo" / entry.name) for entry in held]
        assert flags, "it is held while the call lasts"
        assert all(value & O_CLOEXEC for value in flags)
        daemon.let_go()
        assert "result" in wire.final(1)


def _flags(info: Path) -> int:
    return int(next(row.split()[1] for row in info.read_text().splitlines() if row.startswith("flags:")), 8)


def test_the_daemon_never_writes_into_an_input(serve: Any) -> None:
    """And a client that goes on writing only harms itself."""
    daemon, context = serve(rknn_scenario="hold.rknn_inputs_set=1")
    with FdWire(daemon.path) as wire, closing(memfd(picture(1))) as fds:
        wire.send_fds(line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=1), fds)
        daemon.wait_enter("rknn_inputs_set")
        os.pwrite(fds[0], picture(2), 0)
        daemon.let_go()
        assert "result" in wire.final(1)
        assert os.pread(fds[0], 100, 0) == picture(2)
        with pytest.raises(PermissionError):
            os.ftruncate(fds[0], 0)


def test_a_memory_over_a_file_is_shared_both_ways_and_goes_with_its_client(serve: Any) -> None:
    daemon, context = serve()
    files = daemon.settled()[0]
    with FdWire(daemon.path) as wire, closing(memfd(picture(1), size=4096)) as fds:
        mem = wire.call("rknn.create_mem_from_fd", {"ctx": context, "fd": 0, "size": SIZE}, fds)["result"]["mem"]
        read = wire.ask("rknn.mem_sync", {"mem": mem, "mode": 2, "read": True})
        assert read["result"]["data"] == in_base64(picture(1))
        wire.ask("rknn.mem_sync", {"mem": mem, "mode": 1, "data": in_base64(picture(2))})
        assert os.pread(fds[0], SIZE, 0) == picture(2)
        with FdWire(daemon.path) as other:
            for method, params in (
                ("rknn.infer", {"context": context, "inputs": {"mem": mem}}),
                ("rknn.mem_sync", {"mem": mem, "mode": 2, "read": True}),
                ("rknn.destroy_mem", {"mem": mem}),
            ):
                assert kind(other.ask(method, params)) == "NotYours", method
    settle(daemon, files)
    with daemon.connect() as wire:
        assert wire.ask("server.status")["result"]["memories"] == []


def test_a_memory_that_goes_while_it_is_read_is_no_crash(serve: Any) -> None:
    """The conversion of one call and the end of the memory that it reads, in one piece: the end comes first."""
    daemon, context = serve(scenario="embd=8")
    daemon.load()
    size = 1 << 20
    tensor = {"dtype": "float16", "shape": [size // 16, 8]}
    with FdWire(daemon.path) as wire:
        for number in range(10):
            mem = wire.ask("rknn.create_mem", {"ctx": context, "size": size})["result"]["mem"]
            run = {"input_type": 2, "embed_input": {"embed": {"mem": mem, **tensor}}}
            wire.send(
                line("rknn.destroy_mem", {"mem": mem}, call_id=f"end {number}")
                + line("rkllm.run", run, call_id=f"run {number}")
            )
            answers = {message["id"]: kind(message) for message in (wire.receive(), wire.receive())}
            assert answers == {f"end {number}": None, f"run {number}": "InvalidHandle"}
    assert daemon.process.poll() is None


def test_big_tensors_by_descriptor_do_not_hold_up_others(serve: Any) -> None:
    """Their lines are short, and converting what they bring takes long."""
    daemon, _ = serve(scenario="embd=8")
    daemon.load()
    size = 16 << 20
    params = {"input_type": 2, "embed_input": {"embed": {"fd": 0, "dtype": "float16", "shape": [size // 16, 8]}}}
    with FdWire(daemon.path) as wire, daemon.connect() as other, closing(memfd(size=size)) as fds:
        counts: list[int] = []
        # Not timed: others are answered again and again meanwhile. A test that is not scheduled tries once more.
        while not counts or counts[-1] < 10:
            assert len(counts) < 20, f"so many instant calls were answered meanwhile: {counts}"
            wire.send_fds(line("rkllm.run", params, fds=1), fds)
            counts.append(0)
            while not select.select([wire.socket], [], [], 0)[0]:
                other.ask("rkllm.get_constants")
                counts[-1] += 1
            assert "result" in wire.final(1)


def test_clients_that_go_leave_nothing_behind(serve: Any) -> None:
    daemon, context = serve(rknn_scenario="delay.rknn_run=20")
    files = daemon.settled()[0]
    for number in range(20):
        with FdWire(daemon.path) as wire, closing(*(memfd(picture(1)) for _ in range(MOST))) as fds:
            request = line("rknn.infer", {"context": context, "inputs": {"fd": 0}}, fds=MOST)
            if number % 2:
                wire.send_fds(request, fds)
            wire.send_fds(request[: number + 1], fds)
    settle(daemon, files)


def test_a_client_that_goes_while_its_long_line_is_parsed_leaves_nothing_behind(serve: Any) -> None:
    """Its stream finds out that it is gone, in the middle of what a helper thread does."""
    daemon, _ = serve(scenario="text=ab;repeat=100000000;pace_us=500")
    daemon.load(max_new_tokens=0)
    files = daemon.settled()[0]
    request = line("rknn.get_constants", [], fds=MOST, call_id=2, extra=[[1]] * 200_000)
    for number in range(12):
        with FdWire(daemon.path) as wire, closing(*(memfd(picture(1)) for _ in range(MOST))) as fds:
            wire.request("rkllm.run_async", {"prompt": "x"})
            wire.receive()
            wire.send_fds(request, fds)
            time.sleep(0.001 * number)  # not a wait for anything: each round goes at another moment
    settle(daemon, files)


# -- out --------------------------------------------------------------------------------------------------------------


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
        assert refused(answer) == 'The member "reply_fds" is true or false, and not for batches and notifications.'


def test_a_batch_can_t_ask_for_descriptors(serve: Any) -> None:
    with FdWire(serve()[0].path) as wire:
        wire.send(b"[" + line("server.queue", reply_fds=True).strip() + b"]\n")
        assert [kind(answer) for answer in wire.receive()] == ["InvalidParams"]


# -- hostile ones ------------------------------------------------------------------------------------------------------


@dataclass
class Round:
    """What a round sends, and what must come of it."""

    # Bytes and the descriptors that go with the first of them.
    sends: list[tuple[bytes, list[int]]] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)
    # Whether the daemon closes the connection when all is answered, and whether the client goes without reading.
    is_closed: bool = False
    goes: bool = False
    # Those of the ids that are refused for certain.
    wrong: list[Any] = field(default_factory=list)
    after: Callable[[], None] | None = None


class Attacker:
    """Makes rounds at random, and closes what it made."""

    def __init__(self, daemon: Daemon, context: int, mem: int, chance: random.Random) -> None:
        self.daemon = daemon
        self.context = context
        self.mem = mem
        self.chance = chance
        self._fds: list[int] = []
        self._ids = 0
        self._rounds = [
            self.wrong_kind,
            self.wrong_kind,
            self.wrong_place,
            self.wrong_place,
            self.huge,
            self.wrong_count,
            self.too_many,
            self.too_few,
            self.undeclared,
            self.malformed,
            self.split,
            self.batch,
            self.pipelined,
            self.twice,
            self.truncated_later,
            self.unfinished,
            self.too_many_waiting,
            self.gone,
            self.gone_before_the_answer,
        ]

    def next(self) -> tuple[str, Round]:
        """Return the next round and its name."""
        make = self.chance.choice(self._rounds)
        return make.__name__, make()

    def close(self) -> None:
        """Close the descriptors of the rounds so far."""
        while self._fds:
            os.close(self._fds.pop())

    # -- descriptors

    def own(self, *fds: int) -> list[int]:
        """Have descriptors closed after the round."""
        self._fds += fds
        return list(fds)

    def good(self) -> int:
        """Return a descriptor that a tensor can be read from."""
        return self.own(memfd(self.chance.randbytes(SIZE), seals=self.chance.choice([SHRINK, SHRINK | WRITE, 15])))[0]

    def bad(self) -> int:
        """Return a descriptor that no tensor can be read from."""
        makers: list[Callable[[], int]] = [
            lambda: os.open("/", os.O_RDONLY),
            lambda: os.open("/dev/zero", os.O_RDWR),
            lambda: os.open("/dev/null", os.O_WRONLY),
            lambda: os.open(__file__, os.O_RDONLY),
            lambda: os.open(__file__, os.O_PATH),
            lambda: reopened(memfd(picture(1)), os.O_PATH),
            lambda: os.open("/proc/self/mem", os.O_RDONLY),
            lambda: os.open("/proc/self/status", os.O_RDONLY),
            lambda: memfd(picture(1), seals=0),
            lambda: memfd(picture(1), seals=WRITE),
            lambda: memfd(picture(1), seals=0x4),
            lambda: memfd(b""),
            lambda: os.eventfd(1),
            self._epoll,
            lambda: os.pidfd_open(os.getpid()),
            lambda: socket.socket(socket.AF_UNIX).detach(),
            lambda: socket.socket(socket.AF_INET).detach(),
        ]
        if self.chance.random() < 0.1:
            return self.own(*os.pipe())[self.chance.randrange(2)]
        return self.own(self.chance.choice(makers)())[0]

    def _epoll(self) -> int:
        with select.epoll() as poll:
            return os.dup(poll.fileno())

    # -- requests

    def id(self) -> int:
        """Return a new id."""
        self._ids += 1
        return self._ids

    def request(self, tensor: dict[str, Any], fds: Any, call_id: Any, **more: Any) -> bytes:
        """Return a request that takes a tensor, anywhere."""
        prompt = {"prompt": "<image>", "image_embed": tensor, "n_image_tokens": 1}
        method, params = self.chance.choice(
            [
                ("rknn.infer", {"context": self.context, "inputs": tensor}),
                ("rknn.infer", {"context": self.context, "inputs": [{"index": 0, "buf": tensor}]}),
                ("rknn.infer", {"context": self.context, "input_data": tensor}),
                ("rknn.inputs_set", {"context": self.context, "inputs": [{"index": 0, "buf": tensor}]}),
                ("rknn.init", {"model": tensor}),
                ("rknn.create_mem_from_fd", {"ctx": self.context, "fd": {"fd": tensor.get("fd")}, "size": SIZE}),
                ("rknn.mem_sync", {"mem": self.mem, "mode": 3, "data": tensor}),
                ("rkllm.run", {"input_type": 3, "multimodal_input": prompt}),
                ("rkllm.run", {"input_type": 2, "embed_input": {"embed": tensor, "n_tokens": 1}}),
                ("rkllm.run", {"input_type": 1, "token_input": {"input_ids": tensor}}),
            ]
        )
        return line(method, params, fds=fds, call_id=call_id, **more)

    def good_request(self, call_id: Any, fds: int = 1, index: int = 0) -> bytes:
        """Return a request that works with a good descriptor."""
        return line("rknn.infer", {"context": self.context, "inputs": {"fd": index}}, fds=fds, call_id=call_id)

    # -- rounds: each method is one kind

    def wrong_kind(self) -> Round:
        """Descriptors of what is no memfd, or no safe one."""
        call_id = self.id()
        count = self.chance.randint(1, MOST)
        fds = [self.bad() for _ in range(count)]
        request = self.request({"fd": self.chance.randrange(count)}, count, call_id)
        return Round([(request, fds)], [call_id], wrong=[call_id])

    def wrong_place(self) -> Round:
        """Members of a tensor that make no sense."""
        call_id = self.id()
        numbers: list[Any] = [-1, 2, 2**31, 2**63, 2**64, True, "0", 0.5, None, [], {}]
        tensor: dict[str, Any] = {"fd": 0}
        for _ in range(self.chance.randint(1, 3)):
            key = self.chance.choice(["fd", "offset", "size", "dtype", "shape", "data", "mem", "other"])
            tensor[key] = self.chance.choice(
                [*numbers, SIZE, 0, 1, "int8", "float64", "float16", [1, SIZE], [-1], [2**62, 4], "AAAA"]
            )
        return Round([(self.request(tensor, 1, call_id), [self.good()])], [call_id])

    def huge(self) -> Round:
        """Send a file that is far greater than any memory; a part of it is as good as any."""
        call_id = self.id()
        fd = self.own(memfd(size=self.chance.choice([1 << 40, (1 << 63) - 1])))[0]
        tensor: dict[str, Any] = {"fd": 0}
        if self.chance.random() < 0.5:
            tensor |= {"offset": self.chance.choice([0, 1 << 39, (1 << 40) - SIZE]), "size": SIZE}
        return Round([(self.request(tensor, 1, call_id), [fd])], [call_id])

    def wrong_count(self) -> Round:
        """Declare what is no number, or too great."""
        call_id = self.id()
        count: Any = self.chance.choice([-1, MOST + 1, 253, True, "1", 1.5, None, [], 2**63])
        fds = [self.good() for _ in range(self.chance.randint(0, 3))]
        return Round([(self.good_request(call_id, count), fds)], [call_id], bool(fds), wrong=[call_id])

    def too_many(self) -> Round:
        """More descriptors than a message may bring."""
        call_id = self.id()
        count = self.chance.randint(MOST + 1, 253)
        fds = [self.chance.choice([self.good(), self.bad()])] * count
        return Round([(self.good_request(call_id, self.chance.choice([1, MOST, count])), fds)], [call_id], True)

    def too_few(self) -> Round:
        """Fewer than declared."""
        call_id = self.id()
        count = self.chance.randint(1, MOST)
        fds = [self.good() for _ in range(self.chance.randrange(count))]
        return Round([(self.good_request(call_id, count), fds)], [call_id], bool(fds), wrong=[call_id])

    def undeclared(self) -> Round:
        """More than declared."""
        call_id = self.id()
        declared = self.chance.randint(0, 2)
        fds = [self.good() for _ in range(declared + self.chance.randint(1, 5))]
        return Round([(self.good_request(call_id, declared), fds)], [call_id], True)

    def malformed(self) -> Round:
        """No request at all."""
        text = self.chance.choice(
            [b"{", b"\xff\xfe", b"[1]", b"[]", b'{"jsonrpc":"2.0","method":7,"fds":1}', b'{"result":1,"fds":1}', b'"x"']
        )
        fds = [self.chance.choice([self.good(), self.bad()]) for _ in range(self.chance.randint(1, MOST))]
        return Round([(text + b"\n", fds)], [], True)

    def split(self) -> Round:
        """Send a line in pieces, each with some of its descriptors."""
        call_id = self.id()
        count = self.chance.randint(1, MOST)
        request = self.good_request(call_id, count, self.chance.randrange(count))
        cuts = sorted(self.chance.sample(range(1, len(request)), self.chance.randint(1, 10)))
        pieces = [request[start:end] for start, end in zip([0, *cuts], [*cuts, len(request)], strict=True)]
        sends: list[tuple[bytes, list[int]]] = [(piece, []) for piece in pieces]
        for _ in range(count):
            self.chance.choice(sends)[1].append(self.good())
        return Round(sends, [call_id])

    def batch(self) -> Round:
        """Members with descriptors, or without."""
        ids = [self.id() for _ in range(self.chance.randint(1, 5))]
        members, fds = [], []
        for call_id in ids:
            count = self.chance.randint(0, 3)
            members.append(self.good_request(call_id, count).strip())
            fds += [self.chance.choice([self.good, self.bad])() for _ in range(count)]
        sends = [(b"[" + b",".join(members) + b"]\n", fds[:MOST])]
        return Round(sends, ids, is_closed=False)

    def pipelined(self) -> Round:
        """Two requests in one piece."""
        first, second = self.id(), self.id()
        counts = [self.chance.randint(0, 8), self.chance.randint(0, 8)]
        text = self.request({"fd": 0}, counts[0], first) + self.request({"fd": 1}, counts[1], second)
        return Round(
            [(text, [self.chance.choice([self.good, self.bad])() for _ in range(sum(counts))])], [first, second]
        )

    def twice(self) -> Round:
        """Send the same file three times."""
        call_id = self.id()
        fd = self.good()
        return Round([(self.good_request(call_id, 3, self.chance.randrange(3)), [fd, fd, fd])], [call_id])

    def truncated_later(self) -> Round:
        """Cut a file short while it may be in use."""
        call_id = self.id()
        fd = self.own(memfd(picture(1), seals=0))[0]
        request = self.request({"fd": 0}, 1, call_id)
        return Round([(request, [fd])], [call_id], wrong=[call_id], after=lambda: os.ftruncate(fd, 0))

    def unfinished(self) -> Round:
        """Send the beginning of a line and go."""
        request = self.good_request(self.id(), 2)
        end = self.chance.randrange(1, len(request) - 2)
        fds = [self.good() for _ in range(self.chance.randint(1, MOST))]
        return Round([(request[:end], fds)], goes=True)

    def too_many_waiting(self) -> Round:
        """Send the descriptors of a line that does not come."""
        fds = [self.good() for _ in range(MOST)]
        return Round([(b" ", fds)] * (MOST_WAITING // MOST + 1), [], True)

    def gone(self) -> Round:
        """Go without waiting for the answers."""
        fds = [self.chance.choice([self.good, self.bad])() for _ in range(3)]
        requests = [self.request({"fd": self.chance.randrange(3)}, 3, self.id()) for _ in range(4)]
        return Round([(request, fds) for request in requests], goes=True)

    def gone_before_the_answer(self) -> Round:
        """Go before the descriptors of the answers are taken."""
        requests = [self.request({"fd": 0}, 1, self.id(), reply_fds=True) for _ in range(8)]
        return Round([(request, [self.good()]) for request in requests], goes=True)


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
