"""Conversations as ``messages``: what the model is told, and that it reads new words only (protocol, section 3)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.daemon import Daemon, Start
from tests.server.conversations.talking import Talk
from tests.wire_connection import kind

TEMPLATE = ["", "<U>", "<E>\n<A>"]


@pytest.fixture(params=["1.2.3", "1.3.1"])
def echo(request: pytest.FixtureRequest, start: Start) -> Daemon:
    """Start a daemon whose model answers with what it was given; a token is a byte, and all that are read count."""
    daemon = start(version=request.param)
    daemon.load(max_new_tokens=0)
    return daemon


def test_each_turn_reads_its_own_words_only(echo: Daemon) -> None:
    with echo.connect() as wire:
        talk = Talk(wire, "Be brief.")
        assert talk.ask("one")["text"].endswith("Be brief.\n\none")
        for number in range(20):
            result = talk.ask(f"question {number}")
            assert result["perf"]["prefill_tokens"] == len(f"question {number}"), "as the first of all"
            assert result["template"] == "words"
            assert result["prompt_tokens"] == result["cached_tokens"] + result["perf"]["prefill_tokens"]
            assert result["cached_tokens"] > 20 * number
    assert echo.calls("rkllm_clear_kv_cache") == 0


def test_a_conversation_goes_on_over_any_connection_of_its_user(echo: Daemon) -> None:
    with echo.connect() as wire:
        talk = Talk(wire)
        talk.ask("one")
    with echo.connect() as talk.wire:
        result = talk.ask("two")
        assert result["perf"]["prefill_tokens"] == 3
        assert "history_reset" not in result


def test_an_edited_conversation_is_told_anew_and_nothing_of_the_old_one(echo: Daemon) -> None:
    with echo.connect() as wire:
        wire.ask("rkllm.set_chat_template", [None, *TEMPLATE])
        talk = Talk(wire)
        first = talk.ask("one")["text"]
        talk.ask("secret")
        del talk.messages[2:]
        told = talk.ask("two")
        assert told["text"] == f"[user] <U>one<E>\n<A>{first}<E>\n<U>two<E>\n<A>"
        assert (told["template"], told["cached_tokens"]) == ("markers", 0)
        assert echo.calls("rkllm_clear_kv_cache") == 1
        assert talk.ask("three")["perf"]["prefill_tokens"] == len("three")


def test_what_another_client_has_said_is_not_heard(echo: Daemon) -> None:
    with echo.connect() as wire, echo.connect() as other:
        talk = Talk(wire)
        talk.ask("one")
        assert "one" not in other.ask("rkllm.run", {"prompt": "plain", "keep_history": 1})["result"]["text"]
        told = talk.ask("two")
        assert "plain" not in told["text"]
        assert "one" in told["text"]
        assert "history_reset" not in told, "nothing is lost"
        assert other.ask("rkllm.run", {"prompt": "plain", "keep_history": 1})["result"]["history_reset"] is True


def test_a_streamed_one_and_a_job_are_the_same_conversation(echo: Daemon) -> None:
    with echo.connect() as wire:
        talk = Talk(wire)
        talk.ask("one")
        talk.messages.append({"role": "user", "content": "two"})
        wire.request("rkllm.run_async", {"messages": talk.messages}, 1)
        parts = wire.until_final(1)
        assert parts[-1]["result"]["perf"]["prefill_tokens"] == 3
        said = "".join(part["result"]["text"] for part in parts)
        talk.messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "three"}]
        submitted = {"method": "rkllm.run", "params": {"messages": talk.messages}}
        job = wire.ask("server.submit", submitted)["result"]["job"]
        while (found := wire.ask("server.job", {"job": job})["result"])["status"] != "completed":
            pass
        assert found["result"]["perf"]["prefill_tokens"] == len("three")


def test_a_run_that_failed_leaves_nothing_to_go_on_with(start: Start) -> None:
    daemon = start(changing=True)
    daemon.load(max_new_tokens=0)
    with daemon.connect() as wire:
        talk = Talk(wire)
        talk.ask("one")
        daemon.play(run="error@1")
        failed = [*talk.messages, {"role": "user", "content": "lost"}]
        assert kind(wire.ask("rkllm.run", {"messages": failed})) == "RuntimeError"
        daemon.play()
        told = talk.ask("two")
        assert told["text"].startswith("[user] User: one\n\nAssistant: ")
        assert "lost" not in told["text"]


def test_functions_are_told_and_their_results_too(echo: Daemon) -> None:
    tools = [{"type": "function", "function": {"name": "get_weather"}}]
    with echo.connect() as wire:
        talk = Talk(wire)
        assert '"name":"get_weather"' in talk.ask("one", tools=tools)["text"]
        talk.messages.append({"role": "tool", "content": "21 degrees"})
        result = wire.ask("rkllm.run", {"messages": talk.messages, "tools": tools})["result"]
        assert result["text"].endswith("<tool_response>\n21 degrees\n</tool_response>")
        assert result["cached_tokens"] > 0
        assert wire.ask("rkllm.run", {"messages": talk.messages})["result"]["cached_tokens"] == 0, "without tools"


PICTURE = {"image_embed": {"data": [1.0] * 16, "shape": [1, 2, 8]}, "image_width": 2, "image_height": 1}


def with_picture(text: str, **more: Any) -> dict[str, Any]:
    return {
        "role": "user",
        "content": [{"type": "image", "image": {**PICTURE, **more}}, {"type": "text", "text": text}],
    }


def test_a_picture_is_seen_once_and_stays_in_the_conversation(echo: Daemon) -> None:
    with echo.connect() as wire:
        talk = Talk(wire)
        talk.messages = [with_picture("What is <image>?")]
        first = wire.ask("rkllm.run", {"messages": talk.messages})["result"]
        assert "<image>What is < image>?" in first["text"]
        assert "[image n=1x2 sum=16" in first["text"], "its embeddings have reached C"
        talk.messages.append({"role": "assistant", "content": first["text"]})
        second = talk.ask("And now?")
        assert second["perf"]["prefill_tokens"] == len("And now?"), "the picture is not read again"
        talk.messages[1] = {"role": "assistant", "content": "edited"}
        assert "[image n=1x2 sum=16" in talk.ask("Once more?")["text"]


def test_a_tensor_memory_is_a_picture_too_and_may_be_another_one_each_time(echo: Daemon) -> None:
    with echo.connect() as wire:
        context = wire.ask("rknn.init", {"model_path": str(echo.model)})["result"]["context"]
        memory = wire.ask("rknn.create_mem", {"ctx": context, "size": 64})["result"]["mem"]
        talk = Talk(wire)
        embeddings = {"mem": memory, "dtype": "float32", "shape": [1, 2, 8]}
        talk.messages = [with_picture("What is it?", image_embed=embeddings)]
        said = wire.ask("rkllm.run", {"messages": talk.messages})["result"]["text"]
        assert "[image n=1x2 sum=0" in said
        talk.messages.append({"role": "assistant", "content": said})
        assert talk.ask("And now?")["cached_tokens"] == 0, "what is in the memory may have changed"


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (
            {"role": "user", "content": [*with_picture("x")["content"], *with_picture("y")["content"]]},
            "content[2].image",
        ),
        ({"role": "user", "content": [{"type": "image"}]}, "content[0].image"),
        (with_picture("x", image_embed=[]), "content[0].image.image_embed"),
        (with_picture("x", image_embed={"data": [1.0] * 32, "shape": [2, 2, 8]}), "content[0].image"),
        (with_picture("x", colour="red"), "content[0].image"),
    ],
    ids=["two", "nothing", "empty", "two in one", "unknown field"],
)
def test_what_is_no_picture_is_refused(start: Start, message: dict[str, Any], path: str) -> None:
    daemon = start()
    daemon.load()
    with daemon.connect() as wire:
        error = wire.ask("rkllm.run", {"messages": [message]})["error"]
        assert (error["code"], error["data"]["path"]) == (-32602, f"$.messages[0].{path}")
    assert daemon.calls("rkllm_run") == 0
