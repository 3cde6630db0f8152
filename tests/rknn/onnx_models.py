"""All models of ONNX's backend tests whose data is in the installed package, through the real daemon.

Each is run as it is, with the shapes of its outputs removed, and with symbolic shapes, its tensors by descriptor, and
once more as it is with all tensors as numbers in JSON. All are compared with ONNX Runtime itself, bit for bit, shapes
and types included; where it is as it is, also with the test's own reference outputs.

    make onnx-models                        all of them
    make onnx-models ONLY=top_k             those whose name has it
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import numpy_helper

from rkllmd.client import CallError, Client, ConnectionLost, Tensor
from tests.daemon import Daemon, starter

KINDS: Final = ("node", "simple", "pytorch-converted", "pytorch-operator")
AS_IT_IS, NO_OUTPUT_SHAPES, SYMBOLIC, IN_JSON = VARIANTS = (
    "as they are",
    "without output shapes",
    "with symbolic shapes",
    "as numbers in JSON",
)
# The element types that the portable runtime serves: of all others it has to say that it does not.
_TYPES: Final = frozenset(
    f"tensor({name})"
    for name in ("float", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "bool")
)
_QUIET: Final = 4  # ONNX Runtime's severity of fatal errors
# A message of the client takes this many descriptors; more inputs go as numbers.
_MOST_DESCRIPTORS: Final = 16
# The daemon writes this many numbers in JSON.
_MOST_NUMBERS: Final = 16_384

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One test of the onnx package: a model, what goes in and what is to come out, None where that is no tensor."""

    name: str
    kind: str
    model: onnx.ModelProto
    inputs: list[Any]
    outputs: list[Any]
    rtol: float
    atol: float


@dataclass
class Report:
    """What became of the cases: how many ended in each way, and what is wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def cases(only: str = "", every: int = 1, always: Sequence[str] = (), without: Sequence[str] = ()) -> Iterator[Case]:
    """Give the tests whose name has ``only``: every so manieth of each kind, and those whose name has of ``always``.

    The package computes the right outputs of all node tests when it is asked for one; not those of its modules in
    ``without``.
    """
    for module in without:
        name = f"onnx.backend.test.case.node.{module}"
        sys.modules.setdefault(name, ModuleType(name))  # an empty one
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package's tests divide by zero on purpose
        from onnx.backend.test.loader import load_model_tests

        found = {kind: sorted(load_model_tests(kind=kind), key=lambda test: test.name) for kind in KINDS}
    for kind, tests in found.items():
        for number, test in enumerate(test for test in tests if only in test.name):
            if number % every and not any(part in test.name for part in always):
                continue
            inputs: Sequence[Any]
            outputs: Sequence[Any]
            if test.model is not None and test.data_sets:
                model = test.model
                inputs, outputs = test.data_sets[0]
            else:
                directory = Path(str(test.model_dir))
                model = onnx.load(directory / "model.onnx")
                inputs = _read(directory, "input", model.graph.input)
                outputs = _read(directory, "output", model.graph.output)
            arrays = [_array(value) for value in inputs]
            yield Case(test.name, kind, model, arrays, [_array(value) for value in outputs], test.rtol, test.atol)


def _read(directory: Path, what: str, infos: Sequence[Any]) -> list[Any]:
    """Return the tensors of the first data set, None where there is none."""
    found: list[Any] = []
    paths = sorted((directory / "test_data_set_0").glob(f"{what}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    for path, info in zip(paths, infos, strict=False):
        if not info.type.HasField("tensor_type"):
            found.append(None)
            continue
        found.append(onnx.TensorProto.FromString(path.read_bytes()))
    return found


def _array(value: Any) -> Any:
    """Return an array of what is a tensor, the package's scalars of numpy included; None for a sequence and nothing."""
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return None if value is None or isinstance(value, (list, onnx.SequenceProto)) else np.asarray(value)


def variant_of(model: onnx.ModelProto, variant: str) -> bytes:
    """Return a model as one of ``VARIANTS``."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    if variant == NO_OUTPUT_SHAPES:
        for info in made.graph.output:
            if info.type.HasField("tensor_type"):
                info.type.tensor_type.ClearField("shape")
    if variant == SYMBOLIC:
        constants = {constant.name for constant in made.graph.initializer}
        for place, info in enumerate([*made.graph.input, *made.graph.output]):
            if info.type.HasField("tensor_type") and info.name not in constants:
                for number, dim in enumerate(info.type.tensor_type.shape.dim):
                    dim.dim_param = f"d{place}_{number}"
    content: bytes = made.SerializeToString()
    return content


@dataclass(frozen=True)
class Expected:
    """What ONNX Runtime itself makes of a model: why it refuses to load or to run it, or the outputs.

    ``unsupported``: the first type of an input or output that the portable runtime does not serve.
    """

    refusal: str = ""
    failure: str = ""
    unsupported: str = ""
    outputs: list[Array] = field(default_factory=list)
    is_random: bool = False


def expected(content: bytes, inputs: list[Any]) -> Expected:
    """Ask ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no base of their own
        return Expected(refusal=str(error))
    nodes = [*session.get_inputs(), *session.get_outputs()]
    unsupported = next((node.type for node in nodes if node.type not in _TYPES), "")
    if unsupported:
        return Expected(unsupported=unsupported)
    try:
        feeds = {node.name: values for node, values in zip(session.get_inputs(), inputs, strict=False)}
        first, second = (session.run(None, feeds) for _ in range(2))
    except Exception as error:
        return Expected(failure=str(error))
    is_random = any(a.tobytes() != b.tobytes() for a, b in zip(first, second, strict=True))
    return Expected(outputs=[np.asarray(values) for values in first], is_random=is_random)


def infer(client: Client, content: bytes, inputs: list[Any], *, in_json: bool) -> tuple[list[Array], list[Any]]:
    """Return the outputs by the daemon, and their shapes as rknn.query tells them afterwards. Raises CallError."""
    loaded = client.call("rknn.init", {"model": content})
    context = loaded["context"]
    try:
        arrays: list[Array] = inputs[: loaded["n_input"]]
        if any(values.shape != shape for values, shape in zip(arrays, _fixed_shapes(content), strict=False)):
            attrs = [{"dims": list(values.shape), "fmt": "RKNN_TENSOR_NCHW"} for values in arrays]
            client.call("rknn.set_input_shapes", {"ctx": context, "attr": attrs})
        by_descriptor = not in_json and len(arrays) <= _MOST_DESCRIPTORS
        params: dict[str, Any] = {"context": context}
        if arrays:
            sent = [_by_descriptor(values) if by_descriptor else values.tolist() for values in arrays]
            params["inputs"] = [{"buf": values, "fmt": "RKNN_TENSOR_NCHW"} for values in sent]
        if in_json:
            outputs = client.call("rknn.infer", {**params, "encoding": "array"})["outputs"]
            found = [_from_json(output) for output in outputs]
        else:
            outputs = client.call("rknn.infer", params, reply_fds=True)["outputs"]
            # A copy: what is mapped keeps a descriptor open.
            found = [np.frombuffer(bytes(item["data"]), item["dtype"]).reshape(item["shape"]) for item in outputs]
        question = {"context": context, "cmd": "RKNN_QUERY_CURRENT_OUTPUT_ATTR"}
        return found, [client.call("rknn.query", {**question, "index": i})["dims"] for i in range(len(found))]
    finally:
        client.call("rknn.destroy", {"context": context})


def _fixed_shapes(content: bytes) -> list[Any]:
    """Return the shape that a model declares for each input, None where it leaves something open."""
    graph = onnx.ModelProto.FromString(content).graph
    constants = {constant.name for constant in graph.initializer}
    found: list[Any] = []
    for info in graph.input:
        if info.name not in constants:
            dims = info.type.tensor_type.shape.dim
            is_fixed = all(dim.HasField("dim_value") for dim in dims)
            found.append(tuple(dim.dim_value for dim in dims) if is_fixed else None)
    return found


def _by_descriptor(values: Array) -> Tensor:
    return Tensor(np.asarray(values, order="C"), values.dtype.name, values.shape)


def _from_json(output: dict[str, Any]) -> Array:
    """Return an output's numbers; JSON has no infinity and no NaN, so both come as null, and are NaN here."""
    data = [np.nan if number is None else number for number in output["data"]]
    return np.array(data, output["dtype"]).reshape(output["shape"])


def _fits_json(inputs: list[Any], wanted: Expected) -> bool:
    """Return whether all tensors are small enough to be written as numbers, and what goes in is finite."""
    tensors = [values for values in [*inputs, *wanted.outputs] if values is not None]
    is_small = all(values.size <= _MOST_NUMBERS for values in tensors)
    return is_small and all(np.isfinite(values).all() for values in inputs if values is not None)


def _same(output: Array, right: Array, variant: str) -> bool:
    """Return whether two outputs of one type are the same, bit for bit but for what JSON can't say."""
    if variant == IN_JSON and right.dtype.kind == "f":
        right = np.where(np.isfinite(right), right, right.dtype.type(np.nan))
        return np.array_equal(output, right, equal_nan=True) and np.array_equal(np.signbit(output), np.signbit(right))
    return output.tobytes() == right.tobytes()


def judge(client: Client, case: Case, variant: str, report: Report) -> None:
    """Run one case in one variant and enter what became of it. Raises ConnectionLost where the daemon has died."""
    content = variant_of(case.model, variant)
    wanted = expected(content, case.inputs)
    what = f"{case.kind}/{case.name} {variant}"
    if variant == IN_JSON and (wanted.refusal or wanted.unsupported or not _fits_json(case.inputs, wanted)):
        report.counts["not served, or not to be written in JSON"] += 1
        return
    try:
        found, told = infer(client, content, case.inputs, in_json=variant == IN_JSON)
    except CallError as error:
        report.counts[_judge_error(error, wanted, what, report)] += 1
        return
    if wanted.refusal or wanted.failure or wanted.unsupported:
        report.faults.append(f"{what}: served, though {wanted.refusal or wanted.failure or wanted.unsupported}")
        return
    report.counts["random, shapes compared" if wanted.is_random else "compared"] += 1
    for index, (output, right) in enumerate(zip(found, wanted.outputs, strict=True)):
        if (output.shape, output.dtype, tuple(told[index])) != (right.shape, right.dtype, right.shape):
            report.faults.append(
                f"{what}: output {index} is {output.dtype}{list(output.shape)}, told as {told[index]}, "
                f"not {right.dtype}{list(right.shape)}"
            )
        elif not wanted.is_random and not _same(output, right, variant):
            report.faults.append(f"{what}: output {index} has other values")
    if variant == AS_IT_IS and not wanted.is_random:
        _compare_with_reference(case, found, report)


def _judge_error(error: CallError, wanted: Expected, what: str, report: Report) -> str:
    """Return how a refusal is counted: it must be for the reason that ONNX Runtime has, or RKNN's types."""
    status = error.data.get("status_name")
    if wanted.refusal and status == "RKNN_ERR_MODEL_INVALID" and "ONNX Runtime refuses the model" in str(error):
        return "refused by ONNX Runtime at its load"
    if wanted.unsupported and status == "RKNN_ERR_MODEL_INVALID" and wanted.unsupported in str(error):
        return f"not served: {wanted.unsupported}"
    if wanted.failure and status == "RKNN_ERR_FAIL" and "ONNX Runtime:" in str(error):
        return "refused by ONNX Runtime at its run"
    report.faults.append(f"{what}: {error.kind} {status} {str(error)[:300]}")
    return "refused without a reason"


def _compare_with_reference(case: Case, found: list[Array], report: Report) -> None:
    """Note where ONNX Runtime itself differs from the reference."""
    for index, (output, right) in enumerate(zip(found, case.outputs, strict=False)):
        if output.shape != right.shape or not np.allclose(
            output.astype(np.float64), right.astype(np.float64), case.rtol, case.atol, equal_nan=True
        ):
            report.remarks.append(f"{case.kind}/{case.name}: output {index} of ONNX Runtime is not the reference's")
            return
    report.counts["as the reference"] += 1


def run(directory: Path, chosen: Iterator[Case], variants: Sequence[str] = VARIANTS) -> Report:
    """Run cases through a daemon, a new one where it has died."""
    report = Report()
    work = [(case, variant) for case in chosen for variant in variants]
    with starter(directory) as start:
        while work:
            _run_on(start(runtime="portable", directory=_below(directory)), work, report)
    return report


def _run_on(daemon: Daemon, work: list[tuple[Case, str]], report: Report) -> None:
    """Run what is left on one daemon, for as long as it lives."""
    with Client(daemon.path) as client:
        try:
            while work:
                judge(client, *work[-1], report)
                work.pop()
        except (ConnectionLost, OSError) as error:
            case, variant = work.pop()
            report.faults.append(f"{case.kind}/{case.name} {variant}: the daemon died ({error})")


def _below(directory: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=directory))


def main() -> None:
    """Run all of them, print what became of them, and exit with 1 if anything is wrong."""
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    began = time.monotonic()
    total = Report()
    with tempfile.TemporaryDirectory() as directory:
        chosen = list(cases(only=only))
        for variant in VARIANTS:
            report = run(Path(directory), iter(chosen), (variant,))
            print(f"{len(chosen)} models {variant}:")
            for what, count in sorted(report.counts.items()):
                print(f"  {count:5} {what}")
            total.faults += report.faults
            total.remarks += report.remarks
    for remark in total.remarks:
        print(f"note: {remark}")
    for fault in total.faults:
        print(f"WRONG: {fault}")
    print(f"{len(total.faults)} wrong, in {time.monotonic() - began:.0f} s")
    sys.exit(bool(total.faults))


if __name__ == "__main__":
    main()
