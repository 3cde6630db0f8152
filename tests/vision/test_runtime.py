"""Which RKNN runtime is used, what its failures are called, and what is said of it without loading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from rkllmd.config.settings import Config
from rkllmd.errors import RuntimeFailure
from rkllmd.machine.platform import Platform
from rkllmd.machine.runtime_output import RuntimeOutput
from rkllmd.portable import rknn as portable
from rkllmd.portable.build import PortableRuntimeError
from rkllmd.vision.runtime import RknnRuntime, describe_library
from tests.daemon import rknn_simulator


def made(name: str, library: str = "", **settings: Any) -> RknnRuntime:
    return RknnRuntime(Config(runtime=name, rknn_library=library, **settings), Platform(), RuntimeOutput())


@pytest.fixture(scope="module")
def simulator() -> RknnRuntime:
    return made("simulator", str(rknn_simulator()))


def test_only_the_portable_runtimes_calls_end_when_they_are_asked_to(simulator: RknnRuntime) -> None:
    other = made("portable")
    assert (simulator.can_be_interrupted, other.can_be_interrupted) == (False, True)
    assert (simulator.shapes_follow_values, other.shapes_follow_values) == (False, True)


@pytest.mark.parametrize(
    ("status", "lines", "message", "name"),
    [
        (-6, ["one", "two"], "rknn_init failed with RKNN_ERR_MODEL_INVALID (-6): two", "RKNN_ERR_MODEL_INVALID"),
        (-99, [], "rknn_init failed with status (-99).", None),
    ],
)
def test_a_failure_has_the_name_of_its_status_and_the_runtimes_last_word(
    simulator: RknnRuntime, status: int, lines: list[str], message: str, name: str | None
) -> None:
    failure = simulator.failure("rknn_init", status, lines)
    assert failure.message == message
    assert failure.data == {"function": "rknn_init", "status": status, "status_name": name, "log": lines}


def test_a_null_pointer_is_a_failure(simulator: RknnRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    pointer: Any = object()
    answers: list[Any] = [(pointer, []), (None, ["no memory"])]
    monkeypatch.setattr(simulator, "invoke", lambda *_: answers.pop(0))
    assert simulator.create_memory("rknn_create_mem") is pointer
    with pytest.raises(RuntimeFailure, match=r"^rknn_create_mem failed: no memory$") as caught:
        simulator.create_memory("rknn_create_mem")
    assert caught.value.data["status"] is None


def test_the_portable_functions_are_there_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numpy and ONNX Runtime take a while to be imported, and most daemons never need them."""
    times: list[int] = []

    def functions() -> dict[str, Any]:
        times.append(1)
        return {"rknn_init": lambda: 5, "rknn_query": lambda: 6}

    monkeypatch.setattr(portable, "functions", functions)
    library = made("portable").library
    assert times == []
    assert (library.rknn_init(), library.rknn_query(), library.rknn_init()) == (5, 6, 5)
    assert times == [1]


@pytest.mark.parametrize(
    ("name", "library", "said"),
    [("simulator", "", "The simulator has no library of its own to find."), ("vendor", "/nowhere", "/nowhere")],
)
def test_a_library_that_can_not_be_used_is_said_and_not_raised(name: str, library: str, said: str) -> None:
    with capture_logs() as logs:
        found = made(name, library)
    assert not found.is_usable
    assert found.error is not None
    assert said in found.error.message
    assert [line["event"] for line in logs] == ["runtime_unavailable"]


def test_the_layout_may_be_forced(tmp_path: Path) -> None:
    library = str(rknn_simulator("2.3.1"))
    with capture_logs():
        assert not made("vendor", library).is_usable
    assert made("vendor", library, rknn_layout="2.3.2").library.version == "2.3.1"


def test_what_would_be_used_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = rknn_simulator()
    said = describe_library(Config(rknn_library=str(path)))
    assert said == f"vendor (a library is named in the configuration): RKNN 2.3.2, {path}"
    unknown = tmp_path / "librknnrt.so"
    unknown.write_bytes(b"nothing")
    assert describe_library(Config(rknn_library=str(unknown))).endswith(f": RKNN unknown version, {unknown}")
    missing = describe_library(Config(rknn_library="/nowhere"))
    assert missing.startswith("vendor (a library is named in the configuration): There is no librknnrt.so in /nowhere")
    configured = Config(runtime="portable")
    assert describe_library(configured).startswith("portable (the configuration says so): RKNN ")

    def missing_package() -> None:
        raise PortableRuntimeError("numpy is missing")

    monkeypatch.setattr(portable, "check_installed", missing_package)
    assert describe_library(configured) == "portable (the configuration says so): numpy is missing"
