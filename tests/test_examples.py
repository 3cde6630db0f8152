"""Each example runs as it stands, on the portable runtime with the demo model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon import Daemon

EXAMPLES = Path(__file__).parent.parent / "examples"
PYTHON = sorted(path.name for path in EXAMPLES.glob("*.py"))


def _run(daemon: Daemon, *command: str) -> str:
    environment = {**os.environ, "RKLLM_UDS_PATH": daemon.path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def demo(start: Callable[..., Daemon]) -> Daemon:
    return start("--model", "demo", runtime="portable")


def test_every_example_is_run_here() -> None:
    assert PYTHON == ["first_conversation.py", "many_questions.py", "similarity.py", "tools.py"]


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
