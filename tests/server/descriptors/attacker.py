"""Rounds of hostile messages with descriptors, at random."""

from __future__ import annotations

import os
import random
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.daemon import Daemon
from tests.server.descriptors.tensors import MOST, MOST_WAITING, SHRINK, SIZE, WRITE, line, memfd, picture, reopened


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
