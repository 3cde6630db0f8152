"""Any order of calls, cancels, disconnects, pauses, faults and limits, on the real daemon.

Each request is answered exactly once, handles mean what they meant, and nothing is left behind (tests/orders).
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.daemon import Start
from tests.orders.book import GONE, MEMBERS, MODEL_CALLS, VISION_CALLS, Book, Call
from tests.orders.things import Client, Request
from tests.orders.world import FAULTS, World
from tests.simulator.trace import live, overlaps
from tests.wire_connection import kind

# For the long run: RKLLMD_ORDERS=2000.
ORDERS = int(os.environ.get("RKLLMD_ORDERS", "25"))
CONNECTIONS = 4
WHO = st.integers(0, CONNECTIONS - 1)
# C functions that do not go on, and a call that leads to each.
HELD = {
    "prefill": "stream",  # in the middle of a run
    "rkllm_init": "init",
    "rkllm_destroy": "destroy",
    "rkllm_run": "run",
    "rkllm_run_async": "stream",
    "rknn_init": "load",
    "rknn_inputs_set": "infer",
    "rknn_run": "see",
    "rknn_create_mem": "kept memory",
    "rknn_destroy_mem": "free",
    "rknn_destroy": "unload",
}
# What happens to that call.
THEN = ("nothing", "limits pass", "its client leaves", "server.cancel", "server.pause")


def talk(names: tuple[str, ...]) -> st.SearchStrategy[list[Call]]:
    """Draw some of these calls."""
    calls = st.tuples(st.sampled_from(names), st.integers(0, 3), st.sampled_from(sorted(MEMBERS)), st.booleans())
    return st.lists(calls, min_size=2, max_size=6)


class AnyOrder(RuleBasedStateMachine, Book):
    """Whatever clients do in whatever order.

    What is drawn never depends on what the daemon has answered so far, which is a matter of time: where there is no
    such call or handle, another is taken, or nothing is done.
    """

    def __init__(self, world: World) -> None:
        RuleBasedStateMachine.__init__(self)
        Book.__init__(self, world)

    @initialize(loaded=st.booleans())
    def begin(self, loaded: bool) -> None:
        """Have a client with a context and a memory, perhaps a model, and one that has nothing."""
        self.connect()
        for what in ("load", "memory", "init")[: 3 if loaded else 2]:
            self._send(self.clients[0], [(what, 0, "plain", False)])
            self.answers(0)
        self.connect()

    @rule()
    def connect(self) -> None:
        """Let one more client come."""
        if len(self.clients) < CONNECTIONS:
            self.clients.append(Client(self.daemon.connect()))

    @rule(who=WHO, calls=talk(MODEL_CALLS))
    def talk_about_models(self, who: int, calls: list[Call]) -> None:
        """Send some calls at once."""
        self._send(self._client(who), calls)

    @rule(who=WHO, calls=talk(VISION_CALLS))
    def talk_about_vision(self, who: int, calls: list[Call]) -> None:
        """Send some calls at once."""
        self._send(self._client(who), calls)

    @rule(who=WHO, calls=talk(MODEL_CALLS + VISION_CALLS))
    def talk_about_both(self, who: int, calls: list[Call]) -> None:
        """Send some calls at once."""
        self._send(self._client(who), calls)

    @rule(who=WHO, which=st.integers(0, 5), how=st.sampled_from(["id", "$/", "job"]))
    def cancel(self, who: int, which: int, how: str) -> None:
        """Take a call back that may have been answered meanwhile."""
        self._interfere(who, which, how, "server.cancel")

    @rule(who=WHO, which=st.integers(0, 5), how=st.sampled_from(["id", "job"]))
    def pause(self, who: int, which: int, how: str) -> None:
        """Pause a run."""
        self._interfere(who, which, how, "server.pause")

    @rule(who=WHO, which=st.integers(0, 3))
    def abort(self, who: int, which: int) -> None:
        """Abort whatever runs on a model."""
        model, client = self._thing("model", which), self._client(who)
        if model is not None and client is not None:
            self._loosen(model, {"Cancelled"})
            allowed: set[str | None] = {None} if model.is_certain else {None, *GONE}
            self._request(client, "rkllm.abort", [model.number], Request("rkllm.abort", client, [model], [], allowed))

    @rule(who=WHO, shuts=st.booleans())
    def leave(self, who: int, shuts: bool) -> None:
        """Let a client leave, whatever it has in flight, or say that nothing more will come from it."""
        client = self._client(who)
        if client is None:
            return
        for thing in [thing for thing in self.things if thing.owner is client]:
            for item in [thing, *self._parts(thing)]:
                item.is_unsure = True
                self._loosen(item, GONE)
        if shuts:
            client.has_shut = True
            client.wire.half_close()
            return
        self.clients.remove(client)
        client.wire.socket.close()
        for request in client.in_flight.values():
            self._abandon(request.inner or request)

    @rule(fault=st.sampled_from(sorted(FAULTS)))
    def something_breaks(self, fault: str) -> None:
        """Let calls fail that begin from now on."""
        self.weather = FAULTS[fault]
        self.troubles |= {"RuntimeError"}
        if "run" in self.weather[1]:  # also without the line: who waits for a run later hears the line then
            self.troubles |= {"DeviceLost"}
        if "init" in self.weather[0]:
            self.sleepers_may_go = True
            self.troubles |= {"ModelNotInitialized", "InvalidHandle"}
        for request in self._open_requests():
            request.allowed |= self.troubles
        self._play()

    @rule()
    def it_is_repaired(self) -> None:
        """Let calls work again that begin from now on."""
        self.weather = ({}, {})
        self._play()

    @rule(function=st.sampled_from(sorted(HELD)), who=WHO, which=st.integers(0, 3), then=st.sampled_from(THEN))
    def hold(self, function: str, who: int, which: int, then: str) -> None:
        """Let this C function not go on from now on; somebody calls it, and perhaps is given up in it."""
        self.held = function
        self.daemon.hold()
        self._play()
        members = "all limits" if then == "limits pass" else "plain"
        self._send(self._client(who), [(HELD[function], which, members, False)])
        if then.startswith("server."):
            self._interfere(who, 0, "id", then)
        if then == "its client leaves":
            self.leave(who, shuts=False)
        for client in range(len(self.clients) if then == "limits pass" else 0):
            self.answers(client)

    @rule()
    def let_go(self) -> None:
        """Let everything go on in C."""
        self.held = None
        self._play()
        self.daemon.let_go()

    @rule(who=WHO)
    def answers(self, who: int) -> None:
        """Wait for all answers to a client; where the NPU is held, for those that can't wait for it."""
        if who >= len(self.clients):
            return
        client = self.clients[who]
        must_end = [item for item in client.in_flight.values() if self.held is None or item.is_limited]
        while any(item in must_end for item in client.in_flight.values()):
            self._receive(client)
        while client.in_flight and (client.wire._lines or select.select([client.wire.socket], [], [], 0)[0]):
            self._receive(client)

    @rule()
    def everything_settles(self) -> None:
        """Let all end; then the daemon holds what it should and nothing else."""
        self.weather = ({}, {})
        self.let_go()
        for client in list(self.clients):
            while client.in_flight:
                self._receive(client)
            if client.has_shut:
                assert client.wire.receive() is None, "nothing comes after the last answer"
                client.wire.socket.close()
                self.clients.remove(client)
            else:
                assert client.wire.ask("rkllm.get_constants", None, "last")["id"] == "last"
        self._repair_the_npu()
        for job, request in self.jobs.items():
            self._take_job(job, request)
        self.jobs.clear()
        self._until_idle()
        self._compare()
        self.troubles.clear()
        self.a_load_replaces = False

    def teardown(self) -> None:
        """Let all end, let everybody leave, destroy what is kept: the daemon is as it was."""
        with contextlib.ExitStack() as stack:
            for wire in [self.control, *(client.wire for client in self.clients)]:
                stack.enter_context(wire)
            # Where a rule has failed, nothing may ever settle: the next example has a new daemon.
            if not isinstance(sys.exc_info()[1], Exception):
                self._clear_up()

    def _clear_up(self) -> None:
        self.everything_settles()
        for who in reversed(range(len(self.clients))):
            self.leave(who, shuts=False)
        self._until_idle()
        status = self._compare()
        for name, method, handle in (("memories", "rknn.destroy_mem", "mem"), ("contexts", "rknn.destroy", "context")):
            for item in status[name]:
                assert kind(self.control.ask(method, {handle: item[handle]})) in (None, "InvalidHandle")
        for item in status["models"]:
            assert kind(self.control.ask("rkllm.destroy", [item["handle"]])) is None
        self.control.socket.close()
        assert self.daemon.settled()[0] == self.world.descriptors
        trace = self.world.take_trace()
        assert overlaps(trace) == []
        assert set(live(trace).values()) == {0}
        self.world.is_clean = True


def test_any_order_answers_each_request_once_and_leaves_nothing(start: Start, tmp_path: Path) -> None:
    world = World(start, tmp_path)
    run_state_machine_as_test(
        lambda: AnyOrder(world),  # type: ignore[arg-type]  # a factory is taken as well
        settings=settings(
            max_examples=ORDERS,
            stateful_step_count=30,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
