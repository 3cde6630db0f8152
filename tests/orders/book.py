"""What each answer may be, from what was sent until it came; and what the daemon has to hold when all has settled.

What can't be known (a client that left in the middle of a load) is learned then, but only what is possible.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.daemon import until
from tests.orders.things import Client, Request, Thing
from tests.orders.world import PICTURE, SWAPPED, World
from tests.wire_connection import kind

# What is called, which model, context or memory is meant, with which members, and whether as a job.
Call = tuple[str, int, str, bool]

# Members of a request. With all three limits it is answered whatever the NPU does.
MEMBERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "just so": {},
    "low": {"priority": "low"},
    "may run a little": {"timeout_ms": 3},
    "may wait a little": {"wait_timeout_ms": 2},
    "first token soon": {"first_token_timeout_ms": 2},
    "all limits": {"timeout_ms": 5, "wait_timeout_ms": 5, "first_token_timeout_ms": 5, "run_timeout_ms": 9},
}
RUNS = ("run", "run", "chat", "chat", "stream", "stream", "final", "notify", "any run")
MODEL_CALLS = ("init", "init", "swap in", "swap in", "replace all", "replace", "destroy", "clear", *RUNS)
VISION_CALLS = ("load", "load and keep", "unload", "memory", "kept memory", "free", "read", "infer", "see", "see on")
GONE = {"InvalidHandle", "ModelNotInitialized"}


class Book:
    """Sends calls, takes answers, and knows what may come."""

    def __init__(self, world: World) -> None:
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
        if what in ("init", "swap in", "replace all", "replace"):
            return self._load(client, what, which)
        if what in ("load", "load and keep"):
            request = Request("rknn.init", client, [], [], {None}, makes="context", is_kept=what != "load")
            return {"model_path": str(self.world.vision), "keep": request.is_kept}, request
        if what == "any run":
            return {"prompt": "Hello"}, Request("rkllm.run", client, [], [], {None, "AmbiguousHandle", *GONE})
        kinds = {"free": "memory", "read": "memory"}
        thing = self._thing(kinds.get(what, "context" if what in VISION_CALLS else "model"), which)
        if thing is None:
            return None
        number = thing.number
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
            "read": ("rknn.mem_sync", {"mem": number, "mode": 2, "read": True}),
        }[what]
        request = Request(method, client, [thing], [], self._told(client, thing))
        if what in ("destroy", "unload", "free") and None in request.allowed:
            request.ends = [thing, *self._parts(thing)]
        if what.endswith("memory"):
            request.makes, request.is_kept, request.parent = "memory", what == "kept memory", thing
        return params, request

    def _load(self, client: Client, what: str, which: int) -> tuple[Any, Request]:
        params: dict[str, Any] = {"model_path": str(self.daemon.model)}
        request = Request("rkllm.init", client, [], [], {None, "ModelAlreadyLoaded"}, makes="model")
        models = [thing for thing in self.things if thing.kind == "model" and not thing.is_dead]
        if what == "swap in":
            params["model_path"] = SWAPPED[which % len(SWAPPED)]
            self.sleepers_may_go = True
        elif what == "replace all":
            params["replace"] = True
            request.ends = models
            self.a_load_replaces = True
        elif what == "replace" and models:
            model = models[which % len(models)]
            params["replace"] = model.number
            request.uses, request.ends = [model], [model]
            request.allowed |= set() if model.is_certain else GONE
        if self.sleepers_may_go:  # a load takes the place of one that was displaced, or could not be loaded again
            for model in models:
                model.is_unsure = True
                self._loosen(model, GONE)
        return params, request

    def _told(self, client: Client, thing: Thing) -> set[str | None]:
        """Return how a call for this thing may be answered, as far as the thing matters."""
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
        """Let calls that are under way for this thing be answered with that."""
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
        key = "prefill_hold" if self.held == "prefill" else f"hold.{self.held}"
        hold = {} if self.held is None else {key: 1}
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
        # A second init of the very model that is loaded is answered with its handle, and makes nothing.
        if told is None and request.makes is not None and not result.get("already_loaded"):
            number = result[{"model": "handle", "context": "context", "memory": "mem"}[request.makes]]
            assert all(thing.number != number for thing in self.things), "a handle is never used twice"
            owner = None if request.makes == "model" or request.is_kept else request.client
            thing = Thing(request.makes, number, owner, request.parent)
            # Its owner may have gone while its job went on; its parent may end before anybody hears of it.
            thing.is_unsure = owner is not None and (owner not in self.clients or owner.has_shut)
            thing.is_unsure = thing.is_unsure or (request.parent is not None and not request.parent.is_certain)
            if request.makes == "model":
                thing.is_unsure = self.a_load_replaces or self.sleepers_may_go
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
        """Note that nobody will learn what became of a call."""
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
        """Let runs that nobody waits for end, and call until the NPU is tried again; a run proves that it is back."""
        made = self._call_until_tried("rknn.init", {"model_path": str(self.world.vision)})
        # The load may have waited for a run that failed.
        self._call_until_tried("rknn.infer", {"context": made["context"], "inputs": PICTURE})
        self._call_until_tried("rknn.destroy", {"context": made["context"]})
        assert self._status()["device_lost"] is None

    def _call_until_tried(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        while kind(answer := self.control.ask(method, params)) == "DeviceLost":
            pass
        assert kind(answer) is None, answer
        return dict(answer["result"])

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
        """Check that the daemon holds what it should; learn what no answer said."""
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
                self.things.append(Thing(what, number, None, parents[0] if parents else None))
            self.untold[what] = 0
        if all(model["state"] == "loaded" for model in status["models"]):
            self.sleepers_may_go = False
        return status
