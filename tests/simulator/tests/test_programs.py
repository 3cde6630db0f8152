"""Programs as others write them, against the vendor's libraries: they run on the simulators and meet no complaint."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.daemon import BUILD_DIRECTORY
from tests.simulator.build import LAYOUTS, build, build_program, build_rknn

OPERATORS = """RKNNSIM
input name=a type=float32 dims=1,4
input name=b type=float32 dims=1,4
output name=greatest type=float32 dims=1,4
output name=which type=int64 dims=1,4
output name=probabilities type=float16 dims=1,4
operator type=Greatest inputs=a,b outputs=greatest,which
operator type=cstSoftmax inputs=greatest outputs=probabilities axis:int64=-1
"""


@pytest.fixture(autouse=True)
def directory() -> Path:
    BUILD_DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    return BUILD_DIRECTORY


def run(program: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = [str(program), *arguments]
    variables = {**os.environ, "RKNN_SIMULATOR": "log=none", "RKLLM_SIMULATOR": "log=none", **(environ or {})}
    return subprocess.run(
        command, env=variables, capture_output=True, text=True, errors="surrogateescape", timeout=300, check=False
    )


@pytest.mark.parametrize("layout", [0, 1, 2], ids=["normal", "native", "transposed"])
@pytest.mark.parametrize("kind", ["2", "9"], ids=["to_int32", "to_float32_in_groups"])
def test_the_example_of_dynamic_matmul(directory: Path, layout: int, kind: str) -> None:
    program = build_program("dynamic_matmul", build_rknn("2.3.2", directory), directory)
    shapes = ["1,64,32", "4,64,32", "8,64,32"]
    if layout == 2:  # only there K and N may differ
        shapes.append("2,32,64")
    done = run(program, kind, str(layout), *shapes)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["ok"] * len(shapes)


def test_the_example_of_operators_on_the_processor(directory: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.rknn"
    model.write_text(OPERATORS)
    program = build_program("cpu_operators", build_rknn("2.3.2", directory), directory)
    done = run(program, str(model))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        'details: "" 0',
        "init of 1 inputs and 1 outputs",
        "4.000 2.000 3.000 8.000",
        "1.000 0.000 0.000 1.000",
        "0.018 0.002 0.007 0.973",
        'details: "" 0',
    ]


@pytest.mark.parametrize(("layout", "version"), [("1.2", "1.2.3"), ("1.3", "1.3.0"), ("1.3.1", "1.3.1")])
def test_a_program_that_frees_its_strings_after_init(
    directory: Path, tmp_path: Path, layout: str, version: str
) -> None:
    model = tmp_path / "model.rkllm"
    model.touch()
    flags = [f"-DRKLLM_LAYOUT={LAYOUTS[layout]}"]
    program = build_program("chat_once", build(layout, version, directory), directory, flags)
    done = run(program, str(model), "Hi", environ={"RKLLM_SIMULATOR": "log=none;text=Hello"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello\nHello\n", "")
    strict = run(program, str(model), "Hi", environ={"RKLLM_SIMULATOR": "log=none;text=Hello;init_strings_stay=1"})
    assert strict.returncode == 2
    assert "SIMULATOR: model_path was freed" in strict.stderr


@pytest.mark.parametrize("sign", ["-fsigned-char", "-funsigned-char"])
def test_nothing_depends_on_the_sign_of_char(directory: Path, tmp_path: Path, sign: str) -> None:
    """It is signed on x86 and unsigned on ARM; bytes above 127 go through all that reads text."""
    model = tmp_path / "model.rkllm"
    model.touch()
    flags = [f"-DRKLLM_LAYOUT={LAYOUTS['1.3']}", sign]
    program = build_program("chat_once", build("1.3", "1.3.0", directory, [sign]), directory, flags)
    for scenario, said in (
        ("tokens=1;echo_hash=1", "[user] ÄÖ 🙂 \N{KATAKANA LETTER A}"),
        (r"text=\xc3\xa4\xff", "ä\udcff"),
    ):
        done = run(
            program, str(model), "ÄÖ 🙂 \N{KATAKANA LETTER A}", environ={"RKLLM_SIMULATOR": f"log=none;{scenario}"}
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{said}\n{said}\n"

    library = build_rknn("2.3.2", directory, [sign])
    done = run(build_program("dynamic_matmul", library, directory, [sign]), "2", "1", "1,64,32", "4,64,32")
    assert (done.returncode, done.stdout.split()) == (0, ["ok", "ok"])


@pytest.mark.parametrize(
    "line",
    [
        "operator type=A inputs=x outputs=nothing",
        "operator type=A inputs=nothing outputs=y",
        "operator type=A inputs=x outputs=x",
        "operator type=A inputs= outputs=y",
        "operator type=A output=1",
    ],
)
def test_operators_of_tensors_that_are_not_there(directory: Path, tmp_path: Path, line: str) -> None:
    model = tmp_path / "model.rknn"
    model.write_text(f"RKNNSIM\n{line}\ninput name=x type=float32 dims=1,4\noutput name=y type=float32 dims=1,4\n")
    done = run(build_program("cpu_operators", build_rknn("2.3.2", directory), directory), str(model))
    assert done.returncode == 1
    assert "rknn_init fails: -6" in done.stderr
