"""A graph takes no more memory than there is for it, whatever a hundred bytes of it ask for."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.portable.rknn.models import arena
from rkllmd.portable.rknn.models.session import Session, engine
from tests.daemon import Start
from tests.machine.memory.groups import fill, in_a_group
from tests.portable.rknn.graphs import model

MIB = 2**20
ELEMENTS = 128 * MIB // 4


@pytest.fixture
def limited() -> Iterator[None]:
    arena.bound_by(lambda: 64 * MIB)
    yield
    arena.bound_by(lambda: None)


def growing() -> bytes:
    """Return a graph whose output has as many elements as its input says."""
    node = helper.make_node("ConstantOfShape", ["n"], ["y"])
    return model([node], {"n": (TensorProto.INT64, [1])}, {"y": (TensorProto.FLOAT, ["n"])})


def loaded(path: Path, content: bytes) -> Session:
    path.write_bytes(content)
    return Session(str(path))


def run(session: Session, **feeds: Any) -> list[Any]:
    return session.prepare().run(None, feeds, engine().RunOptions())


def size(count: int) -> Any:
    return np.array([count], np.int64)


@pytest.mark.usefixtures("limited")
def test_a_run_takes_no_more_than_its_sessions_limit(tmp_path: Path) -> None:
    content = growing()
    assert len(content) < 150
    first, second = (loaded(tmp_path / "m.onnx", content) for _ in range(2))
    for session in (first, second):
        assert run(session, n=size(40 * MIB // 4))[0].nbytes == 40 * MIB, "each has an arena of its own"
        for count in (ELEMENTS, 2**40):
            with pytest.raises(Exception, match="smaller than requested") as refused:
                run(session, n=size(count))
        assert run(session, n=size(3))[0].tolist() == [0.0] * 3, "and goes on"
    short = arena.shortage(str(refused.value))
    assert short is not None
    assert short.code == rknn_error.RKNN_ERR_MALLOC_FAIL
    assert arena.shortage("Non-zero status code") is None


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize(
    ("operator", "given"),
    [
        ("ConstantOfShape", [size(ELEMENTS)]),
        ("Expand", [np.ones(1, np.float32), size(ELEMENTS)]),
        ("Tile", [np.ones(1, np.float32), size(ELEMENTS)]),
        ("Range", [np.float32(0), np.float32(ELEMENTS), np.float32(1)]),
        ("Pad", [np.ones(1, np.float32), np.array([0, ELEMENTS], np.int64)]),
    ],
)
def test_a_load_computes_no_tensor_that_is_larger_than_a_models(tmp_path: Path, operator: str, given: Any) -> None:
    names = [f"c{number}" for number in range(len(given))]
    nodes = [helper.make_node(operator, names, ["b"]), helper.make_node("Add", ["b", "x"], ["y"])]
    constants = dict(zip(names, given, strict=True))
    content = model(nodes, {"x": (TensorProto.FLOAT, [1])}, {"y": (TensorProto.FLOAT, [None])}, constants)
    session = loaded(tmp_path / "m.onnx", content)
    with pytest.raises(Exception, match="smaller than requested"):
        run(session, x=np.ones(1, np.float32))


def asked(count: int) -> dict[str, Any]:
    return {"data": base64.b64encode(size(count).tobytes()).decode(), "dtype": "int64", "shape": [1]}


def test_a_daemon_goes_on_after_a_run_that_asks_for_more_than_is_left(start: Start, tmp_path: Path) -> None:
    fill(tmp_path / "groups", 512 * MIB, 401 * MIB)
    file = tmp_path / "m.onnx"
    file.write_bytes(growing())
    daemon = start("--memory-reserve-bytes", "0", runtime="portable", launcher=in_a_group(tmp_path / "groups"))
    with daemon.connect() as wire:
        assert "result" in wire.ask("rknn.init", {"model_path": str(file)})
        refused = wire.ask("rknn.run", {"input_data": asked(ELEMENTS)})
        data = refused.get("error", {}).get("data", {})
        assert (data.get("kind"), data.get("status_name")) == ("RuntimeError", "RKNN_ERR_MALLOC_FAIL"), refused
        assert "memory_reserve_bytes" in refused["error"]["message"]
        assert "result" in wire.ask("rknn.run", {"input_data": asked(3)})
