"""What becomes of a request before it waits: what is resolved and converted then, what is left to the worker thread."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.calls.arguments import Converted
from rkllmd.calls.binding.attachments import Attachments
from rkllmd.calls.declaration import Handle, Kind, StructParameter, Value
from rkllmd.errors import (
    InvalidHandle,
    InvalidParams,
    MethodNotFound,
    ModelNotInitialized,
    NotYours,
    PermissionDenied,
)
from rkllmd.language.model import Model
from rkllmd.npu.job import UNRESOLVED, Job
from rkllmd.service import preparation
from rkllmd.service.parts import Service
from rkllmd.service.preparation import Prepared, check, complete, model_name, most_tokens
from rkllmd.vision.objects import Context, Matmul, TensorMemory
from rkllmd.wire.descriptors import Descriptors
from rkllmd.wire.jsonrpc import ABSENT, Call
from rkllmd.wire.long_strings import LongString
from tests.service.services import Client, assembled, call_of, loaded, method

LLM = Handle("handle", ("llm",), "model")
MEM = Handle("mem", ("memory",), "mem", required=True)
NOTHING: Any = None
BATCH: Any = object()


def prepare(service: Service, client: Client, call: Call) -> Any:
    """Prepare a call; what its arguments are, the tests know."""
    return preparation.prepare(service, client, call)


def load_waits(service: Service) -> None:
    """Let a load run that does not end: what a null handle means is open."""
    service.npu.queue.running = Job("rkllm.init", lambda: None, lambda _: None, changes=frozenset({"llm", "context"}))


def load_ends(service: Service) -> None:
    service.npu.queue.running = None


# -- where ----------------------------------------------------------------------------------------------------------


async def test_what_would_have_to_be_imported_first_is_left_to_a_helper_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    client, wrong = Client(), call_of("server.cancel", {"job": 1})
    monkeypatch.delitem(sys.modules, "rkllmd.abi.json.validity.reasons", raising=False)
    async with assembled() as service:
        assert preparation.prepare_at_once(service, client, wrong) is None
        prepared = preparation.prepare_at_once(service, client, call_of("server.status"))
        assert prepared is not None
        assert prepared.is_complete
        with pytest.raises(InvalidParams) as caught:
            await preparation.prepare_apart(service, client, wrong)
        assert caught.value.data["path"] == "$.job"


# -- the method --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("rkllm_run", "There is no method 'rkllm_run'. Did you mean rkllm.run?"),
        ("rkllm.rum", "There is no method 'rkllm.rum'. Did you mean rkllm.run?"),
        ("rkllm.chat", "There is no method 'rkllm.chat'. rpc.discover lists them all."),
        ("x" * 100, f"There is no method {'x' * 61 + '...'!r}. rpc.discover lists them all."),
    ],
)
async def test_a_method_that_there_is_not_comes_with_one_that_there_is(name: str, hint: str) -> None:
    async with assembled() as service:
        with pytest.raises(MethodNotFound) as caught:
            prepare(service, Client(), call_of(name))
        assert caught.value.data["detail"] == hint


@pytest.mark.parametrize("where", ["notification", "batch"])
async def test_descriptors_are_not_sent_where_no_reply_can_bring_them(where: str) -> None:
    async with assembled() as service:
        prepare(service, Client(), call_of("server.status", reply_fds=True))
        call = call_of("server.status", call_id=1 if where == "batch" else ABSENT, reply_fds=True)
        if where == "batch":
            call.batch = BATCH
        with pytest.raises(InvalidParams, match='The member "reply_fds"'):
            prepare(service, Client(), call)


async def test_members_may_stand_among_the_parameters() -> None:
    async with assembled() as service:
        service.methods["rkllm.test"] = method()
        call = call_of("rkllm.test", {"priority": "low"})
        assert prepare(service, Client(), call).is_complete
        assert call.members.priority == "low"


# -- handles -----------------------------------------------------------------------------------------------------------


async def test_a_null_handle_behind_a_load_is_resolved_when_its_turn_comes(tmp_path: Path) -> None:
    async with assembled() as service:
        load_waits(service)
        client, call = Client(), call_of("rkllm.run", {"prompt": "Hello"})
        prepared = prepare(service, client, call)
        assert (prepared.is_complete, prepared.target, prepared.arguments) == (False, UNRESOLVED, {})
        load_ends(service)
        number = await loaded(service, tmp_path)
        complete(service, client, prepared)
        assert prepared.is_complete
        assert prepared.target.number == number
        assert prepared.arguments["rkllm_input"].c.prompt_input == b"Hello"


async def test_a_handle_that_is_named_is_resolved_at_once(tmp_path: Path) -> None:
    async with assembled() as service:
        number = await loaded(service, tmp_path)
        load_waits(service)
        prepared = prepare(service, Client(), call_of("rkllm.run", {"prompt": "Hello", "handle": number}))
        assert prepared.target.number == number
        with pytest.raises(InvalidHandle):
            prepare(service, Client(), call_of("rkllm.run", {"prompt": "Hello", "handle": number + 1}))
        load_ends(service)


async def test_without_a_model_and_without_a_load_there_is_none() -> None:
    async with assembled() as service:
        with pytest.raises(ModelNotInitialized):
            prepare(service, Client(), call_of("rkllm.run", {"prompt": "Hello"}))


async def test_a_question_that_could_be_answered_at_once_waits_for_the_load_too() -> None:
    async with assembled() as service:
        service.methods["rkllm.known"] = method(LLM, kind=Kind.INSTANT, known=lambda *_, **__: True)
        service.methods["rkllm.plain"] = method(LLM, kind=Kind.INSTANT)
        load_waits(service)
        assert not prepare(service, Client(), call_of("rkllm.known")).is_complete
        with pytest.raises(ModelNotInitialized):
            prepare(service, Client(), call_of("rkllm.plain"))
        load_ends(service)
        with pytest.raises(ModelNotInitialized):
            prepare(service, Client(), call_of("rkllm.known"))


def memory_of(service: Service, parent: Context | Matmul | None, owner: int = 1) -> int:
    pointer: Any = ctypes.c_int(1)
    memory = TensorMemory(parent, pointer, 64)
    memory.number = service.vision.memories.add(memory, owner)
    return memory.number


def context_of(service: Service, owner: int | None = 1) -> Context:
    context = Context("/m.rknn", 10, 0)
    context.pointer.value = 1
    context.number = service.vision.contexts.add(context, owner)
    return context


@pytest.fixture
def with_memory() -> Any:
    return method(Handle("ctx", ("context",), "ctx"), MEM, name="rknn.test")


async def test_a_memory_tells_which_context_is_meant(with_memory: Any) -> None:
    async with assembled() as service:
        service.methods["rknn.test"] = with_memory
        context_of(service)
        second = context_of(service)
        prepared = prepare(service, Client(), call_of("rknn.test", {"mem": memory_of(service, second)}))
        assert prepared.target is second
        assert prepared.arguments["mem"].parent is second


async def test_a_memory_of_a_matmul_does_not_stand_for_a_models_context(with_memory: Any) -> None:
    async with assembled() as service:
        service.methods["rknn.test"] = with_memory
        only = context_of(service)
        matmul = Matmul([], [], 1)
        prepared = prepare(service, Client(), call_of("rknn.test", {"mem": memory_of(service, matmul)}))
        assert prepared.target is only


async def test_a_kept_memory_does_not_open_anothers_context(with_memory: Any) -> None:
    async with assembled() as service:
        service.methods["rknn.test"] = with_memory
        theirs = context_of(service, owner=2)
        number = memory_of(service, theirs)
        with pytest.raises(NotYours):
            prepare(service, Client(1), call_of("rknn.test", {"mem": number}))


async def test_c_wants_the_context_that_made_a_memory_whosever_it_is() -> None:
    async with assembled() as service:
        service.methods["rknn.test"] = method(Handle("ctx", ("context", "matmul"), "ctx"), MEM, name="rknn.test")
        theirs = context_of(service, owner=2)
        prepared = prepare(service, Client(1), call_of("rknn.test", {"mem": memory_of(service, theirs)}))
        assert prepared.target is theirs
        assert prepare(service, Client(1), call_of("rknn.test", {"mem": memory_of(service, None)})).target is None


async def test_what_is_shared_is_altered_by_its_owner_whatever_the_connection() -> None:
    async with assembled() as service:
        anna, elsewhere, berta = Client(1, user=50_001), Client(2, user=50_001), Client(3, user=50_002)
        ctx = context_of(service, None)
        ctx.user = anna.user
        service.methods["rknn.test"] = method(Handle("ctx", ("context",), "ctx"), alters="ctx")
        service.methods["rknn.use"] = method(Handle("ctx", ("context",), "ctx"))
        for client in (anna, elsewhere):
            assert prepare(service, client, call_of("rknn.test", [ctx.number])).target is ctx
        assert prepare(service, berta, call_of("rknn.use", [ctx.number])).target is ctx
        for params in ([ctx.number], []):
            with pytest.raises(PermissionDenied, match=f"RKNN context {ctx.number} is shared"):
                prepare(service, berta, call_of("rknn.test", params))
        load_waits(service)
        later = prepare(service, berta, call_of("rknn.test", []))
        with pytest.raises(PermissionDenied):
            complete(service, berta, later)
        load_ends(service)


async def test_what_is_a_connections_own_is_altered_by_it_whatever_the_setting() -> None:
    async with assembled(authority="operator") as service:
        ctx = context_of(service, 1)
        ctx.user = 50_001
        service.methods["rknn.test"] = method(Handle("ctx", ("context",), "ctx"), alters="ctx")
        assert prepare(service, Client(1, user=50_001), call_of("rknn.test", [ctx.number])).target is ctx


# -- conversion --------------------------------------------------------------------------------------------------------


async def test_a_struct_that_refers_to_a_descriptor_is_left_to_the_worker_thread(tmp_path: Path) -> None:
    async with assembled() as service:
        await loaded(service, tmp_path)
        embed = {"embed_input": {"embed": {"fd": 0, "shape": [1, 2]}}}
        prepared = prepare(service, Client(), call_of("rkllm.run", embed, fds=Descriptors()))
        assert (prepared.target, prepared.arguments) == (UNRESOLVED, {}), "its handle may mean another one by then"


async def test_what_is_left_out_is_the_structs_default(tmp_path: Path) -> None:
    async with assembled() as service:
        await loaded(service, tmp_path, top_k=7)
        given = {"prompt": "Hello", "sampling_params": {"top_p": 0.5}}
        arguments = prepare(service, Client(), call_of("rkllm.run", given)).arguments
        sampling = arguments["rkllm_infer_params"].c.sampling_params.contents
        assert (sampling.top_k, sampling.top_p) == (7, 0.5), "as the model was loaded"
        service.methods["rkllm.test"] = method(StructParameter("param", "RKLLMParam"))
        init = prepare(service, Client(), call_of("rkllm.test", {"model_path": "/m", "top_k": 3})).arguments["param"]
        assert init.c.max_context_len == service.language.runtime.default_param()["max_context_len"]
        assert init.c.top_k == 3


async def test_raw_structs_and_tensors_are_left_to_their_function() -> None:
    async with assembled() as service:
        struct, tensor = (
            StructParameter("extend", "rknn_run_extend", required=False, raw=True),
            Value("x", {}, is_tensor=True),
        )
        service.methods["rknn.test"] = method(struct, tensor, name="rknn.test")
        given = {"extend": {"non_block": 1}, "x": {"fd": 0}}
        arguments = prepare(service, Client(), call_of("rknn.test", given)).arguments
        assert [(item.c, item.json, item.path) for item in arguments.values()] == [
            (None, {"non_block": 1}, "$.extend"),
            (None, {"fd": 0}, "$.x"),
        ]
        assert prepare(service, Client(), call_of("rknn.test", {"x": 1})).arguments.keys() == {"x"}


@pytest.mark.parametrize(
    ("schema", "given", "value"),
    [
        ({"type": "integer"}, 8.0, 8),
        ({"type": ["integer", "null"]}, 8.0, 8),
        ({"type": "number"}, 8.0, 8.0),
        ({"type": "number"}, 0.5, 0.5),
        ({"type": "string"}, LongString(bytearray(b"abc" * 30_000)), "YWJj" * 30_000),
    ],
)
async def test_a_plain_value_is_what_python_has_for_it(schema: dict[str, Any], given: Any, value: Any) -> None:
    async with assembled() as service:
        service.methods["rkllm.test"] = method(Value("x", schema))
        found = prepare(service, Client(), call_of("rkllm.test", {"x": given})).arguments["x"]
        assert (found, type(found)) == (value, type(value))


async def test_what_a_method_prepares_is_its_only_argument() -> None:
    async with assembled() as service:
        got: list[Any] = []

        def prepares(part: Any, client: Any, call: Any, **arguments: Any) -> str:
            got.extend([part, client, call, arguments])
            return "ready"

        service.methods["server.test"] = method(Value("x", {}), kind=Kind.INSTANT, prepare=prepares)
        client, call = Client(), call_of("server.test", {"x": 5})
        assert prepare(service, client, call).arguments == {"prepared": "ready"}
        assert got == [service, client, call, {"x": 5}]


# -- what is asked of a prepared call ----------------------------------------------------------------------------------


def prepared_for(target: Any, **arguments: Any) -> Prepared:
    return Prepared(method(), {}, Attachments(), arguments, [target])


async def test_an_object_that_is_gone_is_said_with_when() -> None:
    context = Context("/m.rknn", 10, 0, number=7)
    with pytest.raises(InvalidHandle, match=r"^Its handle was released while the call waited\.$") as caught:
        prepared_for(context).check_alive("waited")
    assert caught.value.data["handle"] == 7
    context.pointer.value = 1
    prepared_for(context).check_alive("waited")
    prepared_for(None).check_alive("waited")
    model = Model.__new__(Model)
    model.is_asleep, model.pointer = False, ctypes.c_void_p()
    with pytest.raises(ModelNotInitialized, match=r"^The model was unloaded while the call was prepared\.$"):
        prepared_for(model).check_alive("was prepared")


@pytest.mark.parametrize(("mode", "most", "expected"), [(0, 7, 7), (0, -1, 0), (1, 7, None)])
def test_only_a_generation_has_a_number_of_tokens(mode: int, most: int, expected: int | None) -> None:
    infer = Converted(SimpleNamespace(mode=mode), {}, "$", Attachments())
    model = SimpleNamespace(most_tokens=lambda _: most)
    assert most_tokens(prepared_for(model, rkllm_infer_params=infer)) == expected
    assert most_tokens(prepared_for(model)) is None


async def test_which_file_a_call_works_on() -> None:
    async with assembled(model_directory="/models") as service:
        assert model_name(service, prepared_for(SimpleNamespace(path="/a.rkllm"))) == "/a.rkllm"
        assert model_name(service, prepared_for(None)) == ""
        loads = method(model_of=lambda part, **arguments: arguments["path"])
        assert model_name(service, Prepared(loads, {}, Attachments(), {"path": "b.rkllm"}, [])) == "/models/b.rkllm"


async def test_an_error_of_the_check_names_what_the_client_wrote() -> None:
    def refuses(*_: Any, **arguments: Any) -> None:
        raise InvalidParams("$.x is wrong.", path="$.x")

    async with assembled() as service:
        service.methods["rkllm.test"] = checked = method(Value("x", {}), check=refuses)
        prepared = prepare(service, Client(), call_of("rkllm.test", [5]))
        with pytest.raises(InvalidParams) as caught:
            check(service, NOTHING, prepared)
        assert (caught.value.data["path"], caught.value.message) == ("$[0]", "$[0] is wrong.")
        assert prepared.method is checked
