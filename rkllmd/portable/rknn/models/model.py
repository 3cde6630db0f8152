"""A loaded graph: its session, its tensors, and what its metadata says about them."""

from __future__ import annotations

import json
from math import prod

import numpy as np

from rkllmd import interruption
from rkllmd.abi.layouts.rknn_constants import RKNN_MAX_DIMS, RKNN_MAX_DYNAMIC_SHAPE_NUM, rknn_error, rknn_tensor_type
from rkllmd.portable.rknn.errors import RknnError
from rkllmd.portable.rknn.models import apart
from rkllmd.portable.rknn.models.model_file import ModelFile
from rkllmd.portable.rknn.models.onnx_runtime import InferenceSession, Node
from rkllmd.portable.rknn.models.run import Run
from rkllmd.portable.rknn.models.session import ProfiledSession, Session
from rkllmd.portable.rknn.tensors.elements import DTYPES, Quantisation
from rkllmd.portable.rknn.tensors.layouts import Shape
from rkllmd.portable.rknn.tensors.tensors import Tensor

# A run that learns shapes may take as long as any, and a load must end: classifiers and detectors take well below a
# second.
_LEARN_SECONDS = 10.0

_TYPES = {
    "tensor(float)": rknn_tensor_type.RKNN_TENSOR_FLOAT32,
    "tensor(float16)": rknn_tensor_type.RKNN_TENSOR_FLOAT16,
    "tensor(int8)": rknn_tensor_type.RKNN_TENSOR_INT8,
    "tensor(uint8)": rknn_tensor_type.RKNN_TENSOR_UINT8,
    "tensor(int16)": rknn_tensor_type.RKNN_TENSOR_INT16,
    "tensor(uint16)": rknn_tensor_type.RKNN_TENSOR_UINT16,
    "tensor(int32)": rknn_tensor_type.RKNN_TENSOR_INT32,
    "tensor(uint32)": rknn_tensor_type.RKNN_TENSOR_UINT32,
    "tensor(int64)": rknn_tensor_type.RKNN_TENSOR_INT64,
    "tensor(bool)": rknn_tensor_type.RKNN_TENSOR_BOOL,
}


class Model:
    """What all contexts of one model share. Raises RKNN_ERR_MODEL_INVALID for a model that cannot be served.

    ``input_sets``: the sets of input shapes that the metadata lists. None: it lists none, and symbolic dimensions are
    free.
    """

    def __init__(self, file: ModelFile, *, profiled: bool) -> None:
        self.file = file
        self.weight_size = file.size
        self.is_profiled = profiled
        self._users = 1
        self._learnt: dict[tuple[Shape, ...], list[Shape] | None] = {}
        try:
            self.session = ProfiledSession(file.path) if profiled else Session(file.path)
            self._read_graph(self.session.graph())
        except BaseException:
            file.close()
            raise
        if not profiled:
            file.close()

    def _read_graph(self, ort: InferenceSession) -> None:
        metadata = ort.get_modelmeta().custom_metadata_map
        self.custom_string = metadata.get("custom_string", "")
        quantisations = _quantisations(metadata)
        self.inputs = [_tensor(index, node, quantisations) for index, node in enumerate(ort.get_inputs())]
        self.outputs = [_tensor(index, node, quantisations) for index, node in enumerate(ort.get_outputs())]
        unknown = quantisations.keys() - {tensor.name for tensor in [*self.inputs, *self.outputs]}
        if unknown:
            raise _invalid(f"rknn_quant names {', '.join(sorted(unknown))}, which is neither input nor output")
        self.input_sets = _input_sets(metadata, self.inputs)

    @property
    def is_static(self) -> bool:
        """Whether no input may have another shape than it has at the start."""
        # An input without dimensions is a scalar, or has a rank that the graph does not say.
        known = all(tensor.dims and all(isinstance(dim, int) for dim in tensor.dims) for tensor in self.inputs)
        return known and self.input_sets is None

    def share(self) -> Model:
        """Return the model for one more context: this one, or one with a session of its own if it is profiled."""
        if self.is_profiled:
            # A profile is of a session's last run, and that is to be the context's own.
            return Model(self.file.again(), profiled=True)
        self._users += 1
        return self

    def release(self) -> None:
        """Let go of the session when the last context does."""
        self._users -= 1
        if self._users == 0:
            if isinstance(self.session, ProfiledSession):
                self.session.close()
            del self.session
            self.file.close()

    def first_shapes(self) -> list[Shape]:
        """Return the inputs' shapes at the start."""
        if self.input_sets:
            return list(self.input_sets[0])
        return [tuple(dim if isinstance(dim, int) else 1 for dim in tensor.dims) for tensor in self.inputs]

    def output_shapes(self, shapes: list[Shape], *, may_run: bool) -> list[Shape]:
        """Return the outputs' shapes for inputs of ``shapes``.

        What the symbolic names of dimensions do not say is learnt by a run on zeros; what that does not show either
        is 1. RKNN_ERR_FAIL when that run is interrupted.
        """
        values: dict[str | None, int] = {}
        for tensor, shape in zip(self.inputs, shapes, strict=True):
            # The ranks differ where the graph does not say that of an input.
            values |= {name: size for name, size in zip(tensor.dims, shape, strict=False) if isinstance(name, str)}
        declared = [
            tuple(dim if isinstance(dim, int) else values.get(dim) for dim in tensor.dims) for tensor in self.outputs
        ]
        # An output without dimensions is a scalar, or has a rank that the graph does not say.
        if may_run and any(None in shape or not shape for shape in declared):
            learnt = self._learn(shapes)
            if learnt is not None:
                return learnt
        return [tuple(1 if dim is None else dim for dim in shape) for shape in declared]

    def _learn(self, shapes: list[Shape]) -> list[Shape] | None:
        """Return the outputs' shapes as a run on zeros shows them; None if it fails or does not end soon.

        The graph may be unable to work on zeros, or loop on them: then the shapes are not known before a real run.
        """
        key = tuple(shapes)
        if key not in self._learnt:
            zeros = {
                tensor.name: np.zeros(shape, DTYPES[tensor.type])
                for tensor, shape in zip(self.inputs, shapes, strict=True)
            }
            # Not with a profiled session, since this run is not to be measured.
            run = Run(Session(self.file.path) if self.is_profiled else self.session, zeros)
            run.start()
            has_ended = run.wait(_LEARN_SECONDS)
            if not has_ended:
                run.stop()
            if interruption.is_interrupted():
                raise apart.interrupted("the run that learns the shapes")
            # Only the last shapes are kept: a camera has few, but texts have as many as there are lengths.
            found = [output.shape for output in run.outputs] if has_ended and not run.error else None
            if found and max(map(len, found)) > RKNN_MAX_DIMS:
                found = None  # a run will say so
            self._learnt = {key: found}
        return self._learnt[key]


def _tensor(index: int, node: Node, quantisations: dict[str, Quantisation]) -> Tensor:
    element_type = _TYPES.get(node.type)
    if element_type is None:
        served = ", ".join(name.removeprefix("tensor(").removesuffix(")") for name in _TYPES)
        raise _invalid(f"{node.name} is a {node.type}, which is not served here: convert it to a tensor of {served}")
    if len(node.shape) > RKNN_MAX_DIMS:
        raise _invalid(f"{node.name} has {len(node.shape)} dimensions; {RKNN_MAX_DIMS} is the most")
    quantisation = quantisations.get(node.name)
    if quantisation:
        dtype = DTYPES[element_type]
        if dtype.kind not in "iu" or not np.iinfo(dtype).min <= quantisation.zero_point <= np.iinfo(dtype).max:
            raise _invalid(f"rknn_quant of {node.name} does not fit to its type, {node.type}")
    return Tensor(index, node.name, element_type, tuple(node.shape), quantisation)


def _quantisations(metadata: dict[str, str]) -> dict[str, Quantisation]:
    try:
        given = json.loads(metadata.get("rknn_quant", "{}"))
        quantisations = {name: Quantisation(float(scale), int(zero)) for name, (scale, zero) in given.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise _invalid("rknn_quant is not JSON of the form {tensor name: [scale, zero point]}") from error
    if not all(0 < quantisation.scale < float("inf") for quantisation in quantisations.values()):
        raise _invalid("rknn_quant has a scale that is not a positive number")
    return quantisations


def _input_sets(metadata: dict[str, str], inputs: list[Tensor]) -> list[list[Shape]] | None:
    text = metadata.get("rknn_dynamic_shapes")
    if text is None:
        return None
    try:
        sets = [[tuple(int(size) for size in shape) for shape in group] for group in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise _invalid("rknn_dynamic_shapes is not a JSON list of sets of input shapes") from error
    if not 1 <= len(sets) <= RKNN_MAX_DYNAMIC_SHAPE_NUM:
        raise _invalid(f"rknn_dynamic_shapes has {len(sets)} sets of shapes")
    for group in sets:
        if len(group) != len(inputs) or not all(
            fits(tensor, shape) for tensor, shape in zip(inputs, group, strict=True)
        ):
            raise _invalid(f"the set {group} in rknn_dynamic_shapes does not fit to the graph's inputs")
    return sets


def fits(tensor: Tensor, shape: Shape) -> bool:
    """Return whether ``shape`` has the fixed dimensions of ``tensor``, any others, and 2 GiB at most."""
    if prod(shape) * DTYPES[tensor.type].itemsize > 2**31:
        return False
    if not tensor.dims:  # a scalar, or a tensor of any rank: the graph decides when it is run
        return len(shape) <= RKNN_MAX_DIMS
    return len(shape) == len(tensor.dims) and all(
        size == dim if isinstance(dim, int) else size >= 0 for size, dim in zip(shape, tensor.dims, strict=True)
    )


def _invalid(sentence: str) -> RknnError:
    return RknnError(rknn_error.RKNN_ERR_MODEL_INVALID, sentence)
