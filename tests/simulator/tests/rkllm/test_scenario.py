"""How the simulator is built and scripted: the version it names, mistakes in a scenario, lines that it prints."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest

from rkllmd.abi.layouts.rkllm_common import (
    RKLLMLoraAdapter,
)
from tests.simulator.build import build
from tests.simulator.player import Model

# ---- the binary -----------------------------------------------------------------------------------------------------


def test_binary_names_its_version_and_a_decoy(tmp_path: Path) -> None:
    content = build("1.2", "9.9.9", tmp_path).read_bytes()
    assert b"RKLLM SDK (version: 9.9.9 | target: Linux | build: simulator)" in content
    assert b"rknn llm lib version: 2.3.3b0 (" in content


def test_build_is_cached_by_content(tmp_path: Path) -> None:
    first = build("1.3", "1.3.0", tmp_path)
    stamp = first.stat().st_mtime_ns
    assert build("1.3", "1.3.0", tmp_path).stat().st_mtime_ns == stamp
    assert build("1.2", "1.3.0", tmp_path) != first
    assert sorted(path.name for path in first.parent.iterdir()) == ["librkllmrt.so"]


def test_build_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"1\.1"):
        build("1.1", "1.1.4", tmp_path)
    with pytest.raises(ValueError, match="characters"):
        build("1.3", "../1", tmp_path)


# ---- scenario -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "txet=a",
        "text",
        "pace_us=fast",
        "pace_us=-1",
        "stamp=2",
        "utf8=",
        "init=explode",
        "init=fail@x",
        "init=error",
        "run=null_handle",
        r"text=\q",
        r"text=\x00",
        "delay.rkllm_sleep=1",
        "hold.rkllm_sleep=1",
        "hold.rkllm_run=2",
        "fault.rkllm_init=hang",
        "return.rkllm_createDefaultParam=1",
        "print_at=rkllm_nothing",
        "pace_us=1;=2",
        "@/nonexistent/scenario",
    ],
)
def test_a_mistake_makes_init_fail(load: Callable[..., Model], text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert load(text).status == -1
    assert "SIMULATOR: scenario: " in capfd.readouterr().err


def test_a_file_is_read_by_every_call(load: Callable[..., Model], tmp_path: Path) -> None:
    path = tmp_path / "scenario"
    path.write_text("# a comment; with a semicolon\ntext=one; two\n\ntokens=words\n")
    model = load(f"@{path}")
    assert [event.text for event in model.play()[1].events] == [b"one; ", b"two", None]
    path.write_text("text=three\n")
    assert model.play()[1].output == b"three"
    path.write_text("txet=three\n")
    assert model.play()[0] == -1
    path.write_text("return.rkllm_load_lora=-7\n")
    assert model.load_lora(ctypes.byref(RKLLMLoraAdapter())) == -7


def test_escapes(load: Callable[..., Model]) -> None:
    assert load(r"text=a\n\xff\\\;\t;tokens=3").play()[1].output == b"a\n\xff\\;\t"


# ---- lines ----------------------------------------------------------------------------------------------------------


def test_printing(load: Callable[..., Model], capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    load(r"log=none;print.stdout=ab\xff;print_repeat=50000;print_newline=0;print.stderr=x;print_at=1;text=abcd").play()
    captured = capfdbinary.readouterr()
    assert captured.out == b"ab\xff" * 50000
    assert captured.err == b"x" * 50000
    load("log=stdout;print.stderr=E RKNN: bad;print_at=rkllm_init")
    captured = capfdbinary.readouterr()
    assert captured.err == b"E RKNN: bad\n"
    assert b"I rkllm: rkllm-runtime version: 1." in captured.out
