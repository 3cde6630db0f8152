"""Which models are loaded at the start, and what is said of each."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from rkllmd.config.declared import DeclaredModel
from rkllmd.config.settings import Config
from rkllmd.service import preparation, startup
from tests.service.services import assembled


def declared(name: str, directory: str = "", *, autoload: bool = True) -> DeclaredModel:
    return DeclaredModel(name=name, param={"model_path": f"{directory}/{name}.rkllm"}, autoload=autoload)


@pytest.mark.parametrize(
    ("model", "names", "wanted"),
    [
        ("", [], []),
        ("/m.rkllm", [], ["/m.rkllm"]),
        ("", ["b", "a"], ["b", "a"]),
        ("a", ["b", "a"], ["a", "b"]),
    ],
)
def test_each_is_loaded_once_in_the_order_of_the_file(model: str, names: list[str], wanted: list[str]) -> None:
    models = (*map(declared, names), declared("later", autoload=False))
    assert startup._wanted(Config(model=model, models=models)) == wanted


async def test_a_failure_is_said_and_logged_and_the_next_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "good.rkllm").touch()
    said: list[str] = []
    models = (declared("good", str(tmp_path)),)
    async with assembled(model=str(tmp_path / "missing.rkllm"), models=models) as service:
        with capture_logs() as logs:
            await startup.load_models_at_start(service, said.append, lambda seconds: None, {})
        assert said[0].startswith(f"Model {tmp_path}/missing.rkllm is not loaded: ")
        (told,) = (line for line in logs if line["event"] == "model_not_loaded")
        assert told["model_path"] == str(tmp_path / "missing.rkllm")
        assert told["error"]["message"] in said[0]
        assert said[1:] == ["Model good is loaded."]
        assert [model.name for model in service.language.models] == ["good"]


async def test_what_is_no_error_of_ours_is_one_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    said: list[str] = []
    async with assembled(model=str(tmp_path / "m.rkllm")) as service:
        monkeypatch.setattr(preparation, "prepare", fails)
        with capture_logs():
            await startup.load_models_at_start(service, said.append, lambda seconds: None, {})
    failed = "The daemon failed in rkllm.init: its log has the details."
    assert said == [f"Model {tmp_path}/m.rkllm is not loaded: {failed}"]


async def test_the_start_is_extended_while_a_load_is_in_time(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """Again before the time is over, but not for a load that has passed its limit, nor on an NPU that is stuck."""
    running: Any = SimpleNamespace(timeout=None)
    npu: Any = SimpleNamespace(queue=SimpleNamespace(running=running), supervisor=SimpleNamespace(outage=None))
    service: Any = SimpleNamespace(npu=npu, language=SimpleNamespace(models=[]), config=Config(model="/big.rkllm"))
    said: list[str] = []
    extended: list[float] = []
    counts: list[int] = []

    async def loads(*_: object) -> None:
        await trio.sleep(100)
        counts.append(len(extended))
        running.timeout = "it has passed its limit"
        await trio.sleep(100)
        counts.append(len(extended))
        running.timeout, npu.supervisor.outage = None, "stuck"
        await trio.sleep(100)
        counts.append(len(extended))

    monkeypatch.setattr(startup, "_load", loads)
    await startup.load_models_at_start(service, said.append, lambda _: extended.append(trio.current_time()), {})
    assert counts[0] == counts[1] == counts[2] > 0
    pauses = [later - earlier for earlier, later in itertools.pairwise(extended)]
    assert max(pauses) < startup.EXTENSION_SECONDS
    await trio.sleep(100)
    assert len(extended) == counts[2], "the models are loaded"


async def test_without_models_there_is_nothing_to_extend() -> None:
    said: list[str] = []
    extended: list[int] = []
    async with assembled() as service:
        await startup.load_models_at_start(service, said.append, extended.append, {})
    assert (said, extended) == ([], [])
