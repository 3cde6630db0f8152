"""Each example runs as it stands, on the portable runtime with the demo model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from rkllmd.portable.demo.vision.draw import draw_digit
from tests.daemon import Daemon

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = EXAMPLES.parent / "rkllmd" / "portable" / "demo" / "digits.onnx"
PYTHON = sorted(path.name for path in EXAMPLES.glob("*.py"))


def _run(daemon: Daemon, *command: str) -> str:
    environment = {**os.environ, "RKLLM_UDS_PATH": daemon.path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def demo(start: Callable[..., Daemon]) -> Daemon:
    return start("--model", "demo", runtime="portable")


def test_every_example_is_run_here() -> None:
    assert PYTHON == [
        "classify.py",
        "first_conversation.py",
        "many_questions.py",
        "similarity.py",
        "tools.py",
        "vision_to_language.py",
    ]


@pytest.mark.parametrize("example", PYTHON)
def test_without_a_daemon_an_example_says_what_to_do(tmp_path: Path, example: str) -> None:
    environment = {**os.environ, "RKLLM_UDS_PATH": str(tmp_path / "none.sock")}
    command = [sys.executable, str(EXAMPLES / example)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert f"No daemon serves {tmp_path / 'none.sock'}: start one with 'rkllmd serve'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("wrong", [["nothing.png"], ["--labels", "/nothing"], [str(EXAMPLES / "classify.py")]])
def test_a_picture_that_is_none_is_told_in_a_sentence(wrong: list[str]) -> None:
    command = [sys.executable, str(EXAMPLES / "classify.py"), *wrong]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert "classify.py: error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_the_first_conversation_answers_rightly(demo: Daemon) -> None:
    said = _run(demo, sys.executable, str(EXAMPLES / "first_conversation.py"), "--wait", "10")
    assert "Oslo" in said
    assert "neural" in said
    assert demo.path in said  # the line to try


def test_tools_are_called_and_their_results_used(demo: Daemon) -> None:
    said = _run(demo, sys.executable, str(EXAMPLES / "tools.py"))
    assert "get_weather({'city': 'Berlin'})" in said
    last = said.splitlines()[-1]
    assert "Berlin" in last
    assert "21" in last
    assert "sunny" in last


def test_tasks_share_the_model_and_one_leaves_early(demo: Daemon) -> None:
    said = _run(demo, sys.executable, str(EXAMPLES / "many_questions.py"))
    assert said.count("> ") == 4
    assert "... enough!" in said


def test_a_sentence_is_more_like_a_similar_one(demo: Daemon) -> None:
    lines = _run(demo, sys.executable, str(EXAMPLES / "similarity.py")).splitlines()
    scores = [float(line.split()[0]) for line in lines]
    assert len(scores) == 3
    assert max(scores) == scores[0]  # the cat and the dog


def test_socat_and_nc_are_enough(demo: Daemon) -> None:
    messages = [json.loads(line) for line in _run(demo, "sh", str(EXAMPLES / "conversation.sh")).splitlines()]
    streamed = [message["result"]["text"] for message in messages if message["id"] == 1]
    assert "neural" in "".join(streamed)
    finals = {message["id"]: message["result"] for message in messages}
    assert finals["status"]["versions"]["runtime"]["name"] == "portable"
    assert finals["answer"]["finish_reason"] == "stop"


def test_a_picture_is_classified_and_drawn_with_its_labels(demo: Daemon, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn.png"
    said = _run(demo, sys.executable, str(EXAMPLES / "classify.py"), "--output", str(drawn)).splitlines()
    assert said[0].split() == ["100%", "seven"]
    with Image.open(drawn) as sheet:
        assert sheet.width > sheet.height, "the labels are beside the picture"
        beside = sheet.crop((sheet.height, 0, sheet.width, sheet.height))
        assert len(beside.getcolors(1 << 16) or []) > 1, "something is written there"


def test_a_picture_of_ones_own_is_classified(demo: Daemon, tmp_path: Path) -> None:
    picture = tmp_path / "wide.png"
    draw_digit(4, seed=5, plain=True).resize((300, 200)).save(picture)
    said = _run(demo, sys.executable, str(EXAMPLES / "classify.py"), str(picture))
    assert said.splitlines()[0].split()[1] == "four"


def test_the_language_model_sees_a_picture_that_the_vision_model_encoded(demo: Daemon, tmp_path: Path) -> None:
    said = _run(demo, sys.executable, str(EXAMPLES / "vision_to_language.py"))
    assert said.splitlines() == ["> Which digit is this? <image>", "This is the digit 3."]
    picture = tmp_path / "nine.png"
    draw_digit(9, seed=2, plain=True).save(picture)
    question = ("--question", "What is 12 minus <image>?")
    said = _run(demo, sys.executable, str(EXAMPLES / "vision_to_language.py"), str(picture), *question)
    assert said.splitlines()[1] == "12 - 9 = 3."


def test_the_picture_by_socat(demo: Daemon) -> None:
    _check_seven(_run(demo, "sh", str(EXAMPLES / "classify.sh")))


def test_the_picture_by_a_memfd_from_c(demo: Daemon, tmp_path: Path) -> None:
    program = tmp_path / "classify"
    source = EXAMPLES / "classify.c"
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(source)], check=True)
    _check_seven(_run(demo, str(program), str(DIGITS), str(EXAMPLES / "seven.ppm")))


def _check_seven(said: str) -> None:
    loaded, inferred = (json.loads(line)["result"] for line in said.splitlines())
    assert loaded["n_input"] == 1
    assert inferred["outputs"][0]["top"][0]["index"] == 7
