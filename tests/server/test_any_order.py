"""Any order of calls, cancels, disconnects, pauses, faults and limits, on the real daemon.

Each request is answered exactly once, handles mean what they meant, and nothing is left behind. The model here knows
what each answer may be from what was sent until it came; what it can't know (a client that left in the middle of a
load) it learns when everything has settled, and even then only what is possible.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.daemon import Daemon, Wire, kind, until
from tests.simulator.trace import live, overlaps

Start = Callable[..., Daemon]
Call = tuple[str, int, str, bool]

# For the long run: RKLLMD_ORDERS=2000.
ORDERS = int(os.environ.get("RKLLMD_ORDERS", "25"))
CONNECTIONS = 4
PICTURE = base64.b64encode(bytes(48)).decode()
CALM = {"text": "a b c d", "tokens": "words", "pace_us": 200, "prefill_abort": 1, "trace_callbacks": 2}
# What goes wrong until it is over: for RKLLM, for RKNN.
FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a run fails at its first token": ({"run": "error@0"}, {}),
    "a run fails at its third token": ({"run": "error@2"}, {}),
    "a run fails without a callback": ({"run": "fail"}, {}),
    "models can't be loaded": ({"init": "fail"}, {}),
    "nothing of RKLLM works": ({"init": "fail", "run": "fail"}, {}),
    "an abort comes late": ({"abort_lag": 3}, {}),
    "no last callback after an abort": ({"finish_after_abort": 0}, {}),
    "no vision model can be loaded": ({}, {"init": "fail"}),
    "vision runs fail": ({}, {"run": "fail", "log": "none"}),
    "vision runs take long": ({"repeat": 20}, {"run_us": 3000}),
    "inputs are refused": ({}, {"fault.rknn_inputs_set": "fail"}),
    "outputs are refused": ({}, {"fault.rknn_outputs_get": "fail"}),
    "no tensor memory": ({}, {"fault.rknn_create_mem": "fail"}),
    "the NPU is stuck": ({}, {"run": "fail"}),  # with the line that says so
}
HELD = ("rkllm_init", "rkllm_destroy", "rkllm_run", "rkllm_run_async", "rknn_init", "rknn_run", "rknn_create_mem")
# Members of a request. With all three limits it is answered whatever the NPU does.
MEMBERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "again plain": {},
    "low": {"priority": "low"},
    "may run a little": {"timeout_ms": 3},
    "may wait a little": {"wait_timeout_ms": 2},
    "first token soon": {"first_token_timeout_ms": 2},
    "all limits": {"timeout_ms": 5, "wait_timeout_ms": 5, "first_token_timeout_ms": 5},
}
MODEL_CALLS = ("init", "init beside", "replace all", "replace", "destroy", "run", "chat", "stream", "final", "notify")
MODEL_CALLS += ("any run", "clear", "run", "stream", "chat")
VISION_CALLS = ("load", "load and keep", "unload", "memory", "kept memory", "free", "infer", "see", "see on", "from memory")
GONE = {"InvalidHandle", "ModelNotInitialized"}


@dataclass(eq=False)
class Thing:
    """A model, context or memory: who may use it (None: everybody), and what is known of its life."""

    kind: str
    number: int
    owner: Client | None
    parent: Thing | None = None
    # Calls under way that end it, and whether one of them may have ended it without anybody being told.
    enders: int = 0
    is_unsure: bool = False
    is_dead: bool = False

    @property
    def is_certain(self) -> bool:
        """Tell whether it is alive for sure."""
        return not (self.is_dead or self.is_unsure or self.enders or (self.parent and not self.parent.is_certain))


@dataclass(eq=False)
class Request:
    """A call that is to be answered once, and what its answer may be: kinds of errors, None for a result."""

    method: str
    client: Client
    uses: list[Thing]
    ends: list[Thing]
    allowed: set[str | None]
    makes: str | None = None
    is_kept: bool = False
    parent: Thing | None = None
    is_limited: bool = False
    inner: Request | None = None  # of server.submit
    next_seq: int = 0


@dataclass(eq=False)
class Client:
    """A connection and what it has in flight, by id."""

    wire: Wire
    in_flight: dict[str, Request] = field(default_factory=dict)
    sent: int = 0
    has_shut: bool = False


class World:
    """The daemon of all examples; a new one after an example that failed."""

    def __init__(self, start: Start, directory: Path) -> None:
        self._start = start
        self._directory = directory
        self._daemons = 0
        self._trace_offset = 0
        self.is_clean = False
        self.vision = directory / "model.rknn"
        self.vision.touch()
        self._rknn_weather = directory / "rknn"
        self.play({}, {})

    def begin(self) -> None:
        """Have a daemon that holds nothing."""
        if not self.is_clean:
            if self._daemons:
                self.daemon.process.kill()
            self._daemons += 1
            self.play({}, {})
            self.daemon = self._start(
                *("--max-models", "2", "--between-tokens", "always", "--grace-ms", "20"),
                # No limit of the configuration's is for a machine that is slow.
                *("--device-retry-seconds", "1", "--timeouts-ms", "default=3600000", "--token-timeout-ms", "3600000"),
                scenario=CALM,
                rknn_scenario=f"@{self._rknn_weather}",
                changing=True,
            )
            self._trace_offset = 0
            self._warm_up()
            self.descriptors, _ = self.daemon.settled()
        self.is_clean = False

    def play(self, rkllm: dict[str, Any], rknn: dict[str, Any]) -> None:
        """Let the simulators do this."""
        beside = self._rknn_weather.with_suffix(".new")
        beside.write_text("".join(f"{key}={value}\n" for key, value in rknn.items()))
        beside.replace(self._rknn_weather)
        if self._daemons and hasattr(self, "daemon"):
            self.daemon.play(**CALM | rkllm)

    def take_trace(self) -> list[list[str]]:
        """Return the lines of the trace since the last time."""
        with self.daemon.trace_path.open("rb") as file:
            file.seek(self._trace_offset)
            whole = file.read().rpartition(b"\n")[0]
        self._trace_offset += len(whole)
        return [line.split() for line in whole.decode().splitlines() if line]

    def _warm_up(self) -> None:
        """Do a bit of everything: what the daemon opens once is no leak."""
        with self.daemon.connect() as wire:
            handle = wire.ask("rkllm.init", {"model_path": str(self.daemon.model)})["result"]["handle"]
            wire.ask("rkllm.run_async", [handle, {"prompt_input": "Hello"}])
            wire.ask("rkllm.destroy", [handle])
            context = wire.ask("rknn.init", {"model_path": str(self.vision)})["result"]["context"]
            wire.ask("rknn.infer", {"context": context, "inputs": PICTURE})


class AnyOrder(RuleBasedStateMachine):
    """Whatever clients do in whatever order.

    What is drawn never depends on what the daemon has answered so far, which is a matter of time: where there is no
    such call or handle, another is taken, or nothing is done.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        world.begin()
        self.daemon = world.daemon
        self.control = self.daemon.connect()
        self.clients: list[Client] = []
        self.things: list[Thing] = []
        self.jobs: dict[str, Request] = {}
        self.weather: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        self.held: str | None = None
        # What may be told to anybody since a fault began, until all has settled.
        self.troubles: set[str | None] = set()
        self.sleepers_may_go = False
        # Models that nobody knows yet may be replaced already; the handles of those that were.
        self.a_load_replaces = False
        self.replaced: set[int] = set()
        # What may be there that nobody was told of, by kind.
        self.untold = {"model": 0, "context": 0, "memory": 0}

    # -- what happens ------------------------------------------------------------------------------------------------

    @initialize(loaded=st.booleans())
    def begin(self, loaded: bool) -> None:
        """Have two clients with a context and a memory each, and perhaps two models."""
        for who, what in enumerate(("load", "load and keep")):
            self.connect()
            calls = [(what, 0, "plain", False), ("memory", 0, "plain", False), ("init", 0, "plain", False)]
            for call in calls[: 3 if loaded else 2]:
                self._send(self.clients[who], [call])
                self.answers(who)

    @rule()
    def connect(self) -> None:
        """Let one more client come."""
        if len(self.clients) < CONNECTIONS:
            self.clients.append(Client(self.daemon.connect()))

    @rule(
        who=st.integers(0, CONNECTIONS - 1),
        calls=st.lists(
            st.tuples(st.sampled_from(MODEL_CALLS), st.integers(0, 3), st.sampled_from(sorted(MEMBERS)), st.booleans()),
            min_size=2,
            max_size=6,
        ),
    )
    def talk_about_models(self, who: int, calls: list[Call]) -> None:
        """Send some calls at once; the last member says whether as a job."""
        self._send(self._client(who), calls)

    @rule(
        who=st.integers(0, CONNECTIONS - 1),
        calls=st.lists(
            st.tuples(st.sampled_from(VISION_CALLS), st.integers(0, 5), st.sampled_from(sorted(MEMBERS)), st.booleans()),
            min_size=2,
            max_size=6,
        ),
    )
    def talk_about_vision(self, who: int, calls: list[Call]) -> None:
        """Send some calls at once."""
        self._send(self._client(who), calls)

    @rule(who=st.integers(0, CONNECTIONS - 1), which=st.integers(0, 5), how=st.sampled_from(["id", "$/", "job"]))
    def cancel(self, who: int, which: int, how: str) -> None:
        """Take a call back that may have been answered meanwhile."""
        self._interfere(who, which, how, "server.cancel")

    @rule(who=st.integers(0, CONNECTIONS - 1), which=st.integers(0, 5), how=st.sampled_from(["id", "job"]))
    def pause(self, who: int, which: int, how: str) -> None:
        """Pause a run."""
        self._interfere(who, which, how, "server.pause")

    @rule(who=st.integers(0, CONNECTIONS - 1), which=st.integers(0, 3))
    def abort(self, who: int, which: int) -> None:
        """Abort whatever runs on a model."""
        model, client = self._thing("model", which), self._client(who)
        if model is not None and client is not None:
            self._loosen(model, {"Cancelled"})
            allowed = {None} if model.is_certain else {None, *GONE}
            self._request(client, "rkllm.abort", [model.number], Request("rkllm.abort", client, [model], [], allowed))

    @rule(who=st.integers(0, CONNECTIONS - 1), shuts=st.booleans())
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
        if fault == "the NPU is stuck":
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

    @rule(function=st.sampled_from(HELD))
    def hold(self, function: str) -> None:
        """Let this C function not go on from now on."""
        self.held = function
        self.daemon.hold()
        self._play()

    @rule()
    def let_go(self) -> None:
        """Let everything go on in C."""
        self.held = None
        self._play()
        self.daemon.let_go()

    @rule(who=st.integers(0, CONNECTIONS - 1))
    def answers(self, who: int) -> None:
        """Wait for all answers to a client; where the NPU is held, for those that can't wait, and take what is there."""
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
            if not isinstance(sys.exc_info()[1], Exception):  # else a rule has failed: the next example has a new daemon
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

    # -- sending -----------------------------------------------------------------------------------------------------

    def _client(self, who: int) -> Client | None:
        talking = [client for client in self.clients if not client.has_shut]
        return talking[who % len(talking)] if talking else None

    def _thing(self, kind: str, which: int) -> Thing | None:
        """Return one of this kind, dead or alive, anybody's; the last made are counted first."""
        found = [thing for thing in reversed(self.things) if thing.kind == kind]
        return found[which % len(found)] if found else None

    def _send(self, client: Client | None, calls: list[Call]) -> None:
        if client is None:
            return
        lines = []
        for what, which, members, as_job in calls:
            made = self._call(client, what, which)
            if made is None:
                continue
            params, request = made
            given = MEMBERS[members]
            if any(name.endswith("timeout_ms") for name in given):
                request.allowed.add("Timeout")
            # What C holds on the event loop, or in nobody's turn, is not for a limit to end.
            request.is_limited = members == "all limits"
            request.allowed |= self.troubles
            self._note_ends(request)
            method = request.method
            if as_job:
                request = self._as_job(request)
                params, method = {"method": method, "params": params}, request.method
            elif what in ("final", "notify"):
                given = {**given, "stream": what}
            lines.append(self._line(client, method, params, request, given))
        if lines:
            client.wire.send("".join(lines).encode())

    def _line(self, client: Client, method: str, params: Any, request: Request, members: dict[str, Any]) -> str:
        client.sent += 1
        client.in_flight[f"call {client.sent}"] = request
        message = {"jsonrpc": "2.0", "id": f"call {client.sent}", "method": method, "params": params, **members}
        return json.dumps(message) + "\n"

    def _request(self, client: Client, method: str, params: Any, request: Request) -> None:
        client.wire.send(self._line(client, method, params, request, {}).encode())

    def _as_job(self, request: Request) -> Request:
        # A call that names a memory alone is looked at when its turn comes.
        is_refused = None not in request.allowed and not any(thing.kind == "memory" for thing in request.uses)
        allowed = set(request.allowed) if is_refused else request.allowed | {None}
        return Request("server.submit", request.client, request.uses, [], allowed, inner=request)

    def _call(self, client: Client, what: str, which: int) -> tuple[Any, Request] | None:
        """Return the parameters and what is known of the call; None where there is nothing to do it with."""
        if what in ("init", "init beside", "replace all", "replace"):
            return self._load(client, what, which)
        if what in ("load", "load and keep"):
            request = Request("rknn.init", client, [], [], {None}, makes="context", is_kept=what != "load")
            return {"model_path": str(self.world.vision), "keep": request.is_kept}, request
        if what == "any run":
            return {"prompt": "Hello"}, Request("rkllm.run", client, [], [], {None, "AmbiguousHandle", *GONE})
        kinds = {"free": "memory", "from memory": "memory"}
        thing = self._thing(kinds.get(what, "context" if what in VISION_CALLS else "model"), which)
        if thing is None:
            return None
        number, parent = thing.number, thing.parent
        prompt = [number, {"prompt_input": "Hello"}]
        method, params = {
            "destroy": ("rkllm.destroy", [number]),
            "run": ("rkllm.run", prompt),
            "chat": ("rkllm.run_async", [*prompt, {"keep_history": 1}]),
            "stream": ("rkllm.run_async", prompt),
            "final": ("rkllm.run_async", prompt),
            "notify": ("rkllm.run_async", prompt),
            "clear": ("rkllm.clear_kv_cache", [number, 1]),
            "unload": ("rknn.destroy", {"context": number}),
            "memory": ("rknn.create_mem", {"ctx": number, "size": 48}),
            "kept memory": ("rknn.create_mem", {"ctx": number, "size": 48, "keep": True}),
            "free": ("rknn.destroy_mem", {"mem": number}),
            "infer": ("rknn.infer", {"context": number, "inputs": PICTURE}),
            "see": ("rknn.run", {"context": number, "input_data": PICTURE, "outputs": True}),
            "see on": ("rknn.run", {"context": number, "input_data": PICTURE, "extend": {"non_block": 1}}),
            "from memory": ("rknn.mem_sync", {"mem": number, "mode": 2, "read": True}),
        }[what]
        request = Request(method, client, [thing], [], self._told(client, thing))
        if what in ("destroy", "unload", "free") and None in request.allowed:
            request.ends = [thing, *self._parts(thing)]
        if what.endswith("memory") and what != "from memory":
            request.makes, request.is_kept, request.parent = "memory", what == "kept memory", thing
        del parent
        return params, request

    def _load(self, client: Client, what: str, which: int) -> tuple[Any, Request]:
        params: dict[str, Any] = {"model_path": str(self.daemon.model)}
        request = Request("rkllm.init", client, [], [], {None, "ModelAlreadyLoaded"}, makes="model")
        models = [thing for thing in self.things if thing.kind == "model" and not thing.is_dead]
        if what == "replace all":
            params["replace"] = True
            request.ends = models
            self.a_load_replaces = True
        elif what == "replace" and models:
            model = models[which % len(models)]
            params["replace"] = model.number
            request.ends = [model]
            request.allowed |= set() if model.is_certain else GONE
        if self.sleepers_may_go:  # a load takes the place of one that could not be loaded again
            for model in models:
                model.is_unsure = True
                self._loosen(model, GONE)
        return params, request

    def _told(self, client: Client, thing: Thing) -> set[str | None]:
        """Return what a call for this thing may be told, as far as the thing matters."""
        is_foreign = thing.owner not in (None, client)
        if thing.is_dead:
            return {"InvalidHandle"}
        if thing.is_certain:
            return {"NotYours"} if is_foreign else {None}
        return {"NotYours", *GONE} if is_foreign else {None, *GONE}

    def _parts(self, thing: Thing) -> list[Thing]:
        return [part for part in self.things if part.parent is thing]

    def _note_ends(self, request: Request) -> None:
        for thing in request.ends:
            thing.enders += 1
            self._loosen(thing, GONE, but=request)
        # Of several that end it, only one can.
        if any(thing.enders > 1 for thing in request.ends):
            request.allowed |= GONE

    def _loosen(self, thing: Thing, kinds: set[str], but: Request | None = None) -> None:
        """Let what is under way for this thing be told so."""
        for request in self._open_requests():
            if thing in request.uses and request is not but:
                request.allowed |= kinds

    def _open_requests(self) -> Iterator[Request]:
        for client in self.clients:
            for request in client.in_flight.values():
                yield request
                if request.inner is not None:
                    yield request.inner
        yield from self.jobs.values()

    def _interfere(self, who: int, which: int, how: str, method: str) -> None:
        client = self._client(who)
        if client is None:
            return
        # A call of any time; those that are answered are not found.
        named: dict[str, Any] = {"id": f"call {max(1, client.sent - which)}"}
        found = client.in_flight.get(named["id"])
        if how == "job":
            jobs = list(self.jobs)
            if not jobs:
                return
            job = jobs[-1 - which % len(jobs)]
            named, found = {"job": job}, self.jobs[job]
        if found is not None and method == "server.cancel":
            found.allowed.add("Cancelled")
        if how == "$/":
            message = {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": named}
            client.wire.send(json.dumps(message).encode() + b"\n")
        else:
            self._request(client, method, named, Request(method, client, [], [], {None}))

    def _play(self) -> None:
        rkllm, rknn = self.weather
        hold = {} if self.held is None else {f"hold.{self.held}": 1}
        is_rknn = self.held is not None and self.held.startswith("rknn")
        self.world.play(rkllm | ({} if is_rknn else hold), rknn | (hold if is_rknn else {}))

    # -- receiving ---------------------------------------------------------------------------------------------------

    def _receive(self, client: Client) -> None:
        message = client.wire.receive()
        assert message is not None, "the daemon closed the connection"
        if "method" in message:
            assert message["method"] == "rkllm.token"
            self._count(client, message["params"]["id"], message["params"]["seq"])
        elif message.get("result", {}).get("_callback_state") in (0, 1):
            self._count(client, message["id"], message["result"]["seq"])
        else:
            assert message["id"] in client.in_flight, f"answered twice: {message}"
            self._answered(client.in_flight.pop(message["id"]), message)

    def _count(self, client: Client, call_id: str, seq: int) -> None:
        assert call_id in client.in_flight, "a partial result after the final one"
        request = client.in_flight[call_id]
        assert seq == request.next_seq
        request.next_seq += 1

    def _answered(self, request: Request, message: dict[str, Any]) -> None:
        told = kind(message)
        assert told in request.allowed, f"{request.method}: {message}, not of {request.allowed}"
        result = message.get("result", {})
        if request.inner is not None:
            if told is None:
                self.jobs[result["job"]] = request.inner
            else:
                self._answered_for_ends(request.inner, told, message)
            return
        if told is None and request.makes is not None:
            number = result[{"model": "handle", "context": "context", "memory": "mem"}[request.makes]]
            assert all(thing.number != number for thing in self.things), "a handle is never used twice"
            owner = None if request.makes == "model" or request.is_kept else request.client
            thing = Thing(request.makes, number, owner, request.parent)
            # Its owner may have gone while its job went on; its parent may end before anybody hears of it.
            thing.is_unsure = owner is not None and (owner not in self.clients or owner.has_shut)
            thing.is_unsure = thing.is_unsure or (request.parent is not None and not request.parent.is_certain)
            if request.makes == "model":
                thing.is_unsure = self.a_load_replaces
                thing.is_dead = number in self.replaced
            self.things.append(thing)
        self._answered_for_ends(request, told, message)

    def _answered_for_ends(self, request: Request, told: str | None, message: dict[str, Any]) -> None:
        self.replaced |= {*message.get("result", {}).get("replaced", [])}
        self.replaced |= {*message.get("error", {}).get("data", {}).get("lost", [])}
        for thing in request.ends:
            thing.enders -= 1
            if told is None and request.makes is None:
                thing.is_dead = True
            elif told == "Timeout" or (told in ("RuntimeError", *GONE)):
                thing.is_unsure = True
        for thing in self.things:  # also those that a load has found which the client did not know
            thing.is_dead = thing.is_dead or thing.number in self.replaced

    def _abandon(self, request: Request) -> None:
        """Note that nobody will be told what became of a call."""
        for thing in request.ends:
            thing.enders -= 1
            thing.is_unsure = True
            self._loosen(thing, GONE)
        if request.makes is not None and (request.makes == "model" or request.is_kept):
            self.untold[request.makes] += 1

    # -- when all has settled ----------------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        return dict(self.control.ask("server.status")["result"])

    def _repair_the_npu(self) -> None:
        """Call until the NPU is tried again."""
        while self._status()["device_lost"] is not None:
            answer = self.control.ask("rknn.init", {"model_path": str(self.world.vision)})
            if kind(answer) is None:
                assert kind(self.control.ask("rknn.destroy", {"context": answer["result"]["context"]})) is None
            else:
                assert kind(answer) == "DeviceLost"

    def _take_job(self, job: str, request: Request) -> None:
        def has_ended() -> bool:
            return self.control.ask("server.job", {"job": job})["result"]["status"] in ("completed", "error")

        until("the end of a job", has_ended)
        first = self.control.ask("server.job", {"job": job})["result"]
        again = self.control.ask("server.job", {"job": job, "forget": True})["result"]
        assert first == again, "it ends once"
        assert self.control.ask("server.job", {"job": job})["result"]["status"] == "not_found"
        self._answered(request, {key: first[key] for key in ("result", "error") if key in first})

    def _until_idle(self) -> None:
        def is_idle() -> bool:
            status = self._status()
            found = (status["state"], status["queue_length"], status["clients"])
            return found == ("idle", 0, len(self.clients) + 1)

        until("an idle daemon", is_idle)

    def _compare(self) -> dict[str, Any]:
        """Look that the daemon holds what it should; learn what nobody was told."""
        status = self._status()
        here = {"model": ("models", "handle"), "context": ("contexts", "context"), "memory": ("memories", "mem")}
        for what, (name, key) in here.items():
            numbers = {item[key] for item in status[name]}
            for thing in [thing for thing in self.things if thing.kind == what]:
                assert thing.enders == 0
                is_here = thing.number in numbers
                numbers.discard(thing.number)
                has_left = thing.owner is not None and thing.owner not in self.clients
                assert not (is_here and (thing.is_dead or has_left)), f"left behind: {thing.kind} {thing.number}"
                assert is_here or not thing.is_certain, f"lost: {thing.kind} {thing.number}"
                thing.is_dead, thing.is_unsure = not is_here, False
            assert len(numbers) <= self.untold[what], f"nobody has them: {name} {numbers}"
            for number in numbers:
                parent = next((item.get("context") for item in status[name] if item[key] == number), None)
                parents = [thing for thing in self.things if what == "memory" and thing.number == parent]
                self.things.append(Thing(what, number, None, *parents))
            self.untold[what] = 0
        if all(model["state"] == "loaded" for model in status["models"]):
            self.sleepers_may_go = False
        return status


def test_any_order_answers_each_request_once_and_leaves_nothing(start: Start, tmp_path: Path) -> None:
    world = World(start, tmp_path)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: AnyOrder(world),
        settings=settings(
            max_examples=ORDERS,
            stateful_step_count=30,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
