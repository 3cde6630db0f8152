"""What comes out is what ONNX Runtime itself computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from rkllmd.portable.demo.vision.draw import draw_digit
from tests.portable.rknn.graphs import (
    FEATURE_SCALE,
    FEATURE_ZERO,
    INPUT_SCALE,
    INPUT_ZERO,
    NUMPY_TYPES,
    dynamic,
    floats,
    identity,
    model,
    quantised,
    reference,
)
from tests.rknn.board import DEMO, DIGITS, Array, Client, b64, numbers, tensor

RNG = np.random.default_rng(7)


def digits(picture: Array) -> Array:
    """Return digits.onnx's scores as ONNX Runtime gives them."""
    session = onnxruntime.InferenceSession(DIGITS, providers=["CPUExecutionProvider"])
    image = (picture.astype(np.int16) - 128).astype(np.int8).transpose(0, 3, 1, 2)
    scores: Array = session.run(None, {"image": np.ascontiguousarray(image)})[0]
    return scores


def picture_of(digit: int, seed: int = 0) -> Array:
    return np.asarray(draw_digit(digit, seed=seed)).reshape(1, 48, 48, 3)


def test_the_demo_classifier_is_bit_for_bit_onnx_runtimes(portable: Client) -> None:
    portable.load(DIGITS)
    for digit in range(10):
        picture = picture_of(digit)
        scores = portable.infer(b64(picture))[0]
        expected = digits(picture)
        assert (scores.dtype.name, scores.tobytes()) == ("int8", expected.tobytes())
        assert int(scores.argmax()) == digit


def test_the_demo_encoder_gives_the_same_floats(portable: Client) -> None:
    portable.load(DEMO / "digits_encoder.onnx")
    picture = picture_of(3)
    session = onnxruntime.InferenceSession(DEMO / "digits_encoder.onnx", providers=["CPUExecutionProvider"])
    image = (picture.astype(np.int16) - 128).astype(np.int8).transpose(0, 3, 1, 2)
    expected = session.run(None, {"image": np.ascontiguousarray(image)})[0]
    (embedding,) = portable.infer(b64(picture))
    assert (embedding.shape, embedding.tobytes()) == ((1, 1, 128), expected.tobytes())


def test_dequantised_scores_are_the_quantised_ones_times_the_scale(portable: Client) -> None:
    portable.load(DIGITS)
    picture = picture_of(5, seed=2)
    (scores,) = portable.infer(b64(picture), want_float=True)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, ((digits(picture).astype(np.float32) + 128) * np.float32(1 / 255)))


def test_float_pixels_are_at_most_one_step_away(portable: Client) -> None:
    """The same picture as floats is quantised by the runtime: scale 1 and zero point -128 lose nothing."""
    portable.load(DIGITS)
    picture = picture_of(7, seed=1)
    (scores,) = portable.infer(tensor(picture.astype(np.float32)))
    assert np.abs(scores.astype(int) - digits(picture).astype(int)).max() <= 1


def test_an_integer_graph_is_bit_for_bit_in_every_order(portable: Client) -> None:
    portable.load(quantised())
    given = RNG.integers(-128, 128, (1, 3, 6, 5), dtype=np.int8)
    expected = reference(quantised(), {"x": given})
    for fmt, data in (("RKNN_TENSOR_NCHW", given), ("RKNN_TENSOR_NHWC", given.transpose(0, 2, 3, 1))):
        item = {"buf": b64(data), "type": "RKNN_TENSOR_INT8", "fmt": fmt}
        feature, scores = portable.infer([item])
        assert feature.tobytes() == expected[0].tobytes()
        assert scores.tobytes() == expected[1].tobytes()


def test_quantised_floats_are_at_most_one_step_from_the_real_ones(portable: Client) -> None:
    portable.load(quantised())
    real = RNG.uniform(-6, 6, (1, 6, 5, 3)).astype(np.float32)
    (feature, _) = portable.infer(tensor(real), want_float=True)
    steps = np.clip(np.rint(real / INPUT_SCALE + INPUT_ZERO), -128, 127).astype(np.int8).transpose(0, 3, 1, 2)
    expected = reference(quantised(), {"x": np.ascontiguousarray(steps)})[0]
    wanted = (expected.astype(np.float32) - FEATURE_ZERO) * np.float32(FEATURE_SCALE)
    # One step of the input moves an output by many; the same input step gives the same output.
    assert np.abs(feature.ravel() - wanted.ravel()).max() <= FEATURE_SCALE * 1.001


def test_a_quantised_tensor_through_nothing_is_within_one_step(portable: Client) -> None:
    portable.load(identity(TensorProto.INT8, [64], {"rknn_quant": '{"x": [0.05, -3], "y": [0.05, -3]}'}))
    real = RNG.uniform(-6, 6, 64).astype(np.float32)
    (found,) = portable.infer(tensor(real), want_float=True)
    assert np.abs(found - real).max() <= 0.05


def test_floats_are_bit_for_bit(portable: Client) -> None:
    portable.load(floats())
    image = RNG.standard_normal((1, 4, 4, 3)).astype(np.float32)
    expected = reference(floats(), {"x": np.ascontiguousarray(image.transpose(0, 3, 1, 2))})[0]
    assert portable.infer(tensor(image))[0].tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", NUMPY_TYPES, ids=[np.dtype(dtype).name for dtype in NUMPY_TYPES.values()])
def test_every_element_type_goes_through_unchanged(portable: Client, kind: int) -> None:
    dtype = np.dtype(NUMPY_TYPES[kind])
    values: Array = RNG.integers(0, 2 if dtype.kind == "b" else 120, (2, 3)).astype(dtype)
    portable.load(identity(kind, [2, 3]))
    (found,) = portable.infer(tensor(values))
    assert (found.dtype, found.shape, found.tobytes()) == (dtype, (2, 3), values.tobytes())


def test_several_inputs_and_outputs_keep_their_places(portable: Client) -> None:
    nodes = [
        helper.make_node("Sub", ["a", "b"], ["difference"]),
        helper.make_node("MatMul", ["a", "b"], ["product"]),
    ]
    square: tuple[int, list[Any]] = (TensorProto.INT32, [3, 3])
    portable.load(model(nodes, {"a": square, "b": square}, {"difference": square, "product": square}))
    a, b = RNG.integers(-9, 9, (3, 3)).astype(np.int32), RNG.integers(-9, 9, (3, 3)).astype(np.int32)
    by_place = portable.infer([{"buf": tensor(a)}, {"buf": tensor(b)}])
    by_index = portable.infer([{"index": 1, "buf": tensor(b)}, {"index": 0, "buf": tensor(a)}])
    for difference, product in (by_place, by_index):
        assert difference.tolist() == (a - b).tolist()
        assert product.tolist() == (a @ b).tolist()


def test_each_shape_of_a_dynamic_model_gives_the_same_as_onnx_runtime(portable: Client) -> None:
    portable.load(dynamic())
    for batch, height in ((1, 1), (2, 3), (4, 9), (1, 2)):
        portable.result("rknn.set_input_shapes", {"attr": [{"dims": [batch, height, 4, 3]}]})
        image = RNG.standard_normal((batch, height, 4, 3)).astype(np.float32)
        expected = reference(dynamic(), {"x": np.ascontiguousarray(image.transpose(0, 3, 1, 2))})
        found = portable.infer(tensor(image))
        assert [output.shape for output in found] == [output.shape for output in expected]
        assert [output.tobytes() for output in found] == [output.tobytes() for output in expected]


def test_the_best_classes_are_those_of_onnx_runtime(portable: Client) -> None:
    portable.load(DIGITS)
    picture = picture_of(8, seed=3)
    (output,) = portable.result("rknn.infer", {"inputs": b64(picture), "top_k": 3})["outputs"]
    scores = (digits(picture).ravel().astype(np.float32) + 128) * np.float32(1 / 255)
    order = sorted(range(10), key=lambda index: (-scores[index], index))[:3]
    assert [best["index"] for best in output["top"]] == order
    assert order[0] == 8
    np.testing.assert_allclose([best["score"] for best in output["top"]], scores[order], rtol=1e-6)
    assert "data" not in output


def test_numbers_for_people_are_the_same_numbers(portable: Client) -> None:
    portable.load(DIGITS)
    picture = picture_of(2)
    params = {"inputs": b64(picture), "encoding": "array"}
    (output,) = portable.result("rknn.infer", params)["outputs"]
    assert output["data"] == digits(picture).ravel().tolist()
    # The output says how it is quantised.
    assert (output["scale"], output["zp"]) == (pytest.approx(1 / 255), -128)
    (output,) = portable.result("rknn.infer", params | {"want_float": True})["outputs"]
    np.testing.assert_allclose(output["data"], (digits(picture).ravel() + 128.0) / 255, rtol=1e-6)


def test_two_contexts_keep_their_inputs_apart(portable: Client) -> None:
    first, second = portable.load(floats()), portable.load(floats())
    images = {context: RNG.standard_normal((1, 4, 4, 3)).astype(np.float32) for context in (first, second)}
    for context, image in images.items():
        portable.result("rknn.inputs_set", {"context": context, "inputs": [{"buf": tensor(image)}]})
    for context in images:
        portable.result("rknn.run", {"context": context})
    for context, image in images.items():
        output = portable.result("rknn.outputs_get", {"context": context})["outputs"][0]
        expected = reference(floats(), {"x": np.ascontiguousarray(image.transpose(0, 3, 1, 2))})[0]
        assert numbers(output).tobytes() == expected.tobytes()
