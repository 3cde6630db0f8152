"""Which library serves, why, and what is said where none can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rkllmd.config.settings import Config
from rkllmd.errors import RuntimeUnavailable
from rkllmd.language import runtime
from rkllmd.language.runtime import Runtime, describe_library
from rkllmd.machine.platform import Platform
from rkllmd.machine.runtime_output import RuntimeOutput
from rkllmd.portable import build as portable
from tests.daemon import Daemon, simulator

CONFIG = Config()

# What shows that a board has an NPU; each alone is enough.
TRACES = [
    "dev/rknpu",
    "sys/module/rknpu/version",
    "dev/dri/by-path/platform-fdab0000.npu-render",
    "sys/class/devfreq/fdab0000.npu/load",
]


def board(root: Path, trace: str | None) -> Platform:
    """Return the platform of a machine with this trace of an NPU, or without one."""
    root.mkdir(exist_ok=True)
    if trace is not None:
        path = root / trace
        path.parent.mkdir(parents=True)
        path.touch()
    return Platform(root)


def make(platform: Platform, **settings: Any) -> Runtime:
    return Runtime(replace(CONFIG, **settings), platform, RuntimeOutput())


@pytest.fixture
def portable_library(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a simulator stand in for the portable runtime, which takes a compiler and an engine to build."""
    library = simulator("1.3.0")
    monkeypatch.setattr(portable, "library_path", lambda: library)
    return library


# --------------------------------------------------------------------------------------------------------------------
# auto


@pytest.mark.parametrize("trace", TRACES)
def test_auto_takes_the_vendors_library_where_an_npu_is(
    tmp_path: Path, trace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RKLLM_LIB_PATH", raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(simulator("1.2.3").parent))
    found = make(board(tmp_path / "root", trace)).describe()
    assert found["name"] == "vendor"
    assert found["reason"].startswith("an NPU was found (/")
    assert trace.startswith(found["reason"].removeprefix("an NPU was found (/").rstrip(")").removesuffix("/version"))
    assert (found["version"], found["layout"]) == ("1.2.3", "1.2")
    assert found["library"] == str(simulator("1.2.3"))


def test_auto_takes_the_portable_runtime_where_no_npu_is(tmp_path: Path, portable_library: Path) -> None:
    found = make(board(tmp_path, None)).describe()
    assert (found["name"], found["reason"]) == ("portable", "no NPU was found")
    assert found["library"] == str(portable_library)


def test_auto_takes_a_library_that_is_named(tmp_path: Path, portable_library: Path) -> None:
    found = make(board(tmp_path, None), rkllm_library=str(simulator("1.2.3"))).describe()
    assert (found["name"], found["version"]) == ("vendor", "1.2.3")
    assert found["reason"] == "a library is named in the configuration"


def test_an_npu_without_a_library_is_not_served_by_the_portable_runtime(
    tmp_path: Path, portable_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be a hundred times slower than the person expects, and nobody would know why."""
    monkeypatch.delenv("RKLLM_LIB_PATH", raising=False)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    chosen = make(board(tmp_path, "dev/rknpu"))
    assert chosen.name == "vendor"
    assert chosen.error is not None
    with pytest.raises(RuntimeUnavailable) as caught:
        _ = chosen.library
    assert caught.value is chosen.error
    assert "/usr/lib/librkllmrt.so" in chosen.error.data["searched"]


# --------------------------------------------------------------------------------------------------------------------
# by name


def test_portable_by_name_where_an_npu_is(tmp_path: Path, portable_library: Path) -> None:
    found = make(board(tmp_path, "dev/rknpu"), runtime="portable").describe()
    assert (found["name"], found["reason"]) == ("portable", "the configuration says so")


def test_a_portable_runtime_that_is_not_built_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise portable.NotBuiltError("the portable runtime is not built yet: python -m rkllmd.portable.build")

    monkeypatch.setattr(portable, "library_path", missing)
    chosen = make(board(tmp_path, None))
    assert chosen.error is not None
    assert chosen.error.kind == "RuntimeUnavailable"
    assert "python -m rkllmd.portable.build" in chosen.error.message
    assert set(chosen.error.data) == {"searched", "found", "fix"}
    told = describe_library(replace(CONFIG, runtime="portable"))
    why = "the portable runtime is not built yet: python -m rkllmd.portable.build"
    assert told == f"portable (the configuration says so): {why}"


def test_the_simulator_has_to_be_named(start: Callable[..., Daemon], tmp_path: Path) -> None:
    chosen = make(board(tmp_path, None), runtime="simulator")
    assert chosen.error is not None
    assert "--rkllm-library" in chosen.error.data["fix"]


# --------------------------------------------------------------------------------------------------------------------
# Over the socket


def test_the_first_line_and_the_status_say_which_runtime_serves_and_why(start: Callable[..., Daemon]) -> None:
    daemon = start("--runtime", "auto", version="1.2.3")  # the later flag counts
    with daemon.connect() as wire:
        found = wire.ask("server.status")["result"]["versions"]["runtime"]
    assert (found["name"], found["version"], found["layout"]) == ("vendor", "1.2.3", "1.2")
    assert found["reason"] == "a library is named in the configuration"
    (ready,) = daemon.events("ready")
    assert ready["runtime"] == found


@pytest.mark.parametrize("as_directory", [False, True])
def test_the_library_from_the_environment(start: Callable[..., Daemon], as_directory: bool) -> None:
    library = simulator("1.2.2")
    # The runtime "auto" gets no flag from the fixture, so that nothing but the variable names the library.
    daemon = start(
        runtime="auto", environ={"RKLLM_LIB_PATH": str(library.parent if as_directory else library)}, cold=True
    )
    daemon.model.write_bytes(b"SIMMODEL")  # an empty one is refused before the vendor's library sees it
    daemon.load()
    with daemon.connect() as wire:
        found = wire.ask("server.status")["result"]["versions"]["runtime"]
        assert wire.ask("rkllm.run", {"prompt": "Hi"})["result"]["text"] == "[user] Hi"
    assert (found["version"], found["library"]) == ("1.2.2", str(library))


def _refusal(daemon: Daemon) -> dict[str, Any]:
    """Return the error that every call which needs the library gets, after the checks that hold for all of them."""
    with daemon.connect() as wire:
        error = wire.ask("rkllm.init", {"model_path": str(daemon.model)})["error"]
        assert (error["code"], error["data"]["kind"]) == (-32011, "RuntimeUnavailable")
        assert set(error["data"]) == {"kind", "searched", "found", "fix"}
        assert wire.ask("rkllm.createDefaultParam")["error"] == error
        described = wire.ask("server.status")["result"]["versions"]["runtime"]
        assert described["error"] == error, "server.status shows it"
        assert "result" in wire.ask("rkllm.get_constants"), "what needs no library works"
        assert wire.ask("rkllm.run", {"prompt": "Hi"})["error"]["data"]["kind"] == "ModelNotInitialized"
    (logged,) = daemon.events("runtime_unavailable")
    assert logged["reason"] == error["message"]
    assert daemon.process.poll() is None
    return {"message": error["message"], **error["data"]}


def test_a_library_that_is_not_there(start: Callable[..., Daemon]) -> None:
    told = _refusal(start(library=Path("/nowhere/lib")))
    assert told["message"] == "There is no librkllmrt.so in /nowhere/lib."
    assert told["searched"] == ["/nowhere/lib", "/nowhere/lib/librkllmrt.so"]
    assert told["found"] is None
    assert "--rkllm-library" in told["fix"]


@pytest.mark.parametrize("version", ["9.9.9", "1.4.0", "1.3.2", "1.1.4", "1.2.0", "1.2.1b1"])
def test_a_version_that_is_not_known(start: Callable[..., Daemon], tmp_path: Path, version: str) -> None:
    library = tmp_path / "librkllmrt.so"
    compiled = "9.9.9" if len(version) == 5 else "9.9.9b9"  # once for all of one length, which stands in the file
    library.write_bytes(simulator(compiled, "1.3").read_bytes().replace(compiled.encode(), version.encode()))
    told = _refusal(start(library=library))
    assert f"is RKLLM runtime {version}; supported are 1.2.1, 1.2.2, 1.2.3, 1.3.0 and 1.3.1" in told["message"]
    assert told["found"] == f"{library} ({version})"
    assert "--rkllm-layout 1.2, 1.3 or 1.3.1" in told["fix"]


def test_a_library_of_another_kind(start: Callable[..., Daemon], tmp_path: Path) -> None:
    empty = tmp_path / "librkllmrt.so"
    empty.touch()
    told = _refusal(start(library=empty))
    assert "does not name an RKLLM version" in told["message"]
    text = tmp_path / "text.so"
    text.write_text("RKLLM SDK (version: 1.3.0 | target: Linux)")
    told = _refusal(start(library=text))
    assert f"{text} cannot be loaded" in told["message"]
    assert told["found"] == str(text)


def test_the_layout_by_hand_for_a_version_that_is_not_known(start: Callable[..., Daemon]) -> None:
    daemon = start("--rkllm-layout", "1.3", library=simulator("9.9.9", "1.3"))
    daemon.load()
    with daemon.connect() as wire:
        assert wire.ask("rkllm.run", {"prompt": "Hi"})["result"]["text"] == "[user] Hi"
        found = wire.ask("server.status")["result"]["versions"]["runtime"]
    assert (found["version"], found["layout"]) == ("9.9.9", "1.3")


@pytest.mark.parametrize(("layout", "other"), [("1.2", "1.3"), ("1.3", "1.2")])
def test_a_library_whose_structs_are_not_those_of_its_version(
    start: Callable[..., Daemon], layout: str, other: str
) -> None:
    """Whether its version lies or the layout was forced: it is proven before it is used."""
    version = {"1.2": "1.2.1", "1.3": "1.3.0"}[other]
    told = _refusal(start(library=simulator(version, layout)))
    assert f"does not have the struct layout {other}" in told["message"]
    assert "Nothing was run with it." in told["message"]
    told = _refusal(start("--rkllm-layout", other, library=simulator("9.9.9", layout)))
    assert f"does not have the struct layout {other}" in told["message"]


# --------------------------------------------------------------------------------------------------------------------
# What the version decides


@pytest.mark.parametrize(
    ("version", "runs", "asks"),
    [("1.2.1", "rkllm_run", False), ("1.2.2", "rkllm_run_async", True), ("1.3.0", "rkllm_run_async", True)],
)
def test_what_is_not_reliable_below_1_2_2_is_not_used(tmp_path: Path, version: str, runs: str, asks: bool) -> None:
    chosen = make(board(tmp_path, None), rkllm_library=str(simulator(version)))
    assert chosen.run_function(asynchronous=True) == runs
    assert chosen.run_function(asynchronous=False) == "rkllm_run"
    forced = make(
        board(tmp_path, None),
        rkllm_library=str(simulator(version)),
        run_async_calls="rkllm_run",
        is_running_calls="never",
    )
    assert forced.run_function(asynchronous=True) == "rkllm_run"
    forced = make(board(tmp_path, None), rkllm_library=str(simulator(version)), run_async_calls="rkllm_run_async")
    assert forced.run_function(asynchronous=True) == "rkllm_run_async"
    assert chosen._asks_is_running is asks


def test_describe_library_without_loading_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError("it was loaded")

    monkeypatch.setattr(runtime, "load", load)
    library = simulator("1.2.3")
    told = describe_library(replace(CONFIG, runtime="vendor", rkllm_library=str(library)))
    assert told == f"vendor (the configuration says so): RKLLM 1.2.3, {library}"
    told = describe_library(replace(CONFIG, runtime="vendor", rkllm_library="/nowhere"))
    assert told.startswith(
        "vendor (the configuration says so): There is no librkllmrt.so in /nowhere. Copy librkllmrt.so"
    )
