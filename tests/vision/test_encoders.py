"""Vision encoders: what C is given, what becomes of its outputs, and what can be no encoder."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from rkllmd.abi.c import bytes_at
from rkllmd.abi.layouts.rknn import rknn_input_output_num
from rkllmd.abi.layouts.rknn_constants import rknn_tensor_type
from rkllmd.config.encoders import DeclaredEncoder
from rkllmd.errors import RuntimeFailure
from rkllmd.vision.encoders import Encoders, normalised
from tests.vision.rooms import Room, Runtime

# Two pixels.
PIXELS = memoryview(bytes([0, 10, 20, 30, 40, 50]))


class Board(Runtime):
    """A runtime with one encoder: its output k is k, k + 0.5, k + 1 and so on."""

    library = None

    def __init__(self, dims: list[int], outputs: list[list[int]]) -> None:
        super().__init__()
        self.dims, self.outputs = dims, outputs
        self.given: tuple[int, bytes] | None = None

    def call(self, function: str, *arguments: Any, on: object = None) -> None:
        """Do what C would."""
        super().call(function, *arguments, on=on)
        if function == "rknn_init":
            arguments[0]._obj.value = 1
        elif function == "rknn_query":
            self._describe(arguments[2]._obj)
        elif function == "rknn_inputs_set":
            given = arguments[2]._obj
            self.given = (given.type, bytes(bytes_at(given.buf, given.size)))
        elif function == "rknn_outputs_get":
            for index, output in enumerate(arguments[2]):
                assert (output.want_float, output.is_prealloc, output.index) == (1, 1, index)
                count = output.size // 4
                place = memoryview(bytes_at(output.buf, output.size)).cast("B")
                place[:] = struct.pack(f"{count}f", *(index + number / 2 for number in range(count)))

    def _describe(self, answer: Any) -> None:
        if isinstance(answer, rknn_input_output_num):
            answer.n_input, answer.n_output = 1, len(self.outputs)
            return
        is_input = self.called.count("rknn_query") == 2
        dims = self.dims if is_input else self.outputs[answer.index]
        answer.n_dims, answer.n_elems = len(dims), 1
        for place, size in enumerate(dims):
            answer.dims[place] = size
            answer.n_elems *= size


class Guard:
    """Memory without end."""

    machine_available_bytes = 0

    def __init__(self) -> None:
        self.footprints = self

    def check(self, demand: object) -> None:
        """Let anything in."""

    def learn(self, demand: object, taken: int) -> None:
        """Forget it."""


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeclaredEncoder:
    path = tmp_path / "v.rknn"
    path.touch()
    monkeypatch.setattr("rkllmd.trials.trial.refuse_set_aside", lambda *_: None)
    monkeypatch.setattr("rkllmd.vision.trial.of_file", lambda *_: None)
    return DeclaredEncoder(str(path), 2, 1)


def room(board: Board) -> Any:
    made: Any = Room()
    made.runtime, made.memory_guard = board, Guard()
    made.board = type("", (), {"core_mask": None})
    made.npu.queue.running = None
    return made


def test_it_is_loaded_for_its_first_picture_and_destroyed_with_its_model(encoder: DeclaredEncoder) -> None:
    board = Board([1, 1, 2, 3], [[1, 2, 4]])
    encoders = Encoders(room(board))
    for _ in range(2):
        found = encoders.encode(encoder, PIXELS)
    assert (found.dtype, found.shape) == ("float32", (1, 2, 4))
    assert struct.unpack("8f", found.data) == (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5)
    assert board.given == (rknn_tensor_type.RKNN_TENSOR_UINT8, bytes(PIXELS))
    assert (board.called.count("rknn_init"), board.called.count("rknn_run")) == (1, 2)
    encoders.release(encoder.path)
    encoders.release(encoder.path)
    encoders.release_all()
    assert board.called.count("rknn_destroy") == 1


def test_one_whose_file_was_replaced_is_loaded_again(encoder: DeclaredEncoder, tmp_path: Path) -> None:
    board = Board([1, 1, 2, 3], [[1, 2, 4]])
    encoders = Encoders(room(board))
    encoders.encode(encoder, PIXELS)
    (tmp_path / "new").write_bytes(b"other")
    (tmp_path / "new").replace(encoder.path)
    board.called.clear()  # it tells its input and its output as for the first time
    encoders.encode(encoder, PIXELS)
    encoders.encode(encoder, PIXELS)
    assert board.called[0] == "rknn_destroy"
    assert board.called.count("rknn_init") == 1
    Path(encoder.path).unlink()
    encoders.encode(encoder, PIXELS)
    assert board.called.count("rknn_init") == 1, "what is loaded goes on without its file"


def test_several_outputs_are_rows_side_by_side(encoder: DeclaredEncoder) -> None:
    found = Encoders(room(Board([1, 3, 1, 2], [[2, 2], [2, 2]]))).encode(encoder, PIXELS)
    assert found.shape == (1, 2, 4)
    assert struct.unpack("8f", found.data) == (0.0, 0.5, 1.0, 1.5, 1.0, 1.5, 2.0, 2.5)


def test_the_colours_are_normalised_where_the_configuration_says_how(encoder: DeclaredEncoder) -> None:
    board = Board([1, 1, 2, 3], [[1, 2]])
    declared = DeclaredEncoder(encoder.path, 2, 1, mean=(0.0, 10.0, 20.0), std=(1.0, 2.0, 4.0))
    Encoders(room(board)).encode(declared, PIXELS)
    expected = struct.pack("6f", 0, 0, 0, 30, 15, 7.5)
    assert board.given == (rknn_tensor_type.RKNN_TENSOR_FLOAT32, expected)
    assert normalised(PIXELS, (0.0, 10.0, 20.0), (1.0, 2.0, 4.0)) == expected


@pytest.mark.parametrize(
    ("dims", "outputs", "said"),
    [
        ([1, 2, 2, 3], [[1, 2]], "2 x 1 pixels: correct that"),
        ([1, 1, 2, 3], [], "0 outputs"),
        ([1, 1, 2, 3], [[1, 2], [1, 4]], "rows of one length"),
        ([1, 1, 2, 3], [[]], "rows of one length"),
    ],
)
def test_what_is_no_encoder_is_let_go_at_once(
    encoder: DeclaredEncoder, dims: list[int], outputs: list[list[int]], said: str
) -> None:
    board = Board(dims, outputs)
    with pytest.raises(RuntimeFailure, match=said) as refused:
        Encoders(room(board)).encode(encoder, PIXELS)
    assert "v.rknn" in refused.value.message
    assert board.called[-1] == "rknn_destroy"
