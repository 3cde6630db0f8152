"""The official SDK's client before the real daemon, in both eras of the protocol and over both transports."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from rkllmd.portable.demo import CLASSIFIER
from rkllmd.portable.demo.vision.draw import draw_digit
from tests.daemon import Daemon
from tests.gateway.process import gateway

STATUS = "rkllmd://status"
ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


def three() -> str:
    target = io.BytesIO()
    draw_digit(3, seed=3).save(target, "PNG")
    return base64.b64encode(target.getvalue()).decode()


@pytest.mark.parametrize("mode", ERAS)
async def test_hosts_of_both_eras_have_tools_and_resources(demo: str, mode: str) -> None:
    from mcp.client.client import Client  # a second of CPU
    from mcp.shared.exceptions import MCPError

    from rkllmd.gateway.mcp import server
    from rkllmd.gateway.mcp.tools import Classifier
    from rkllmd.gateway.upstream.upstream import Upstream

    labels = tuple(CLASSIFIER.with_suffix(".txt").read_text().split())
    upstream = Upstream(demo)
    host = server.serve(upstream, {"digits": Classifier(str(CLASSIFIER), labels)})
    told: list[tuple[float, float | None, str | None]] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    async with Client(host, mode=mode) as client:
        assert client.protocol_version == ERAS[mode]
        assert [tool.name for tool in (await client.list_tools()).tools] == ["generate", "chat", "embed", "classify"]
        asked: dict[str, Any] = {"prompt": "What is 2 plus 2?", "temperature": 0, "max_tokens": 20}
        answer = await client.call_tool("generate", asked, progress_callback=report)
        assert answer.structured_content["text"] == "2 + 2 = 4."
        assert told[-1][1:] == (20, "generating")
        shown: dict[str, Any] = {"prompt": "which digit is this?", "image": three(), "temperature": 0}
        seen = await client.call_tool("generate", shown)
        assert seen.structured_content["text"] == "This is the digit 3."
        said = [{"role": "user", "content": "What is 3 plus 3?"}]
        chat = await client.call_tool("chat", {"messages": said, "temperature": 0})
        assert (chat.structured_content["text"], chat.structured_content["finish_reason"]) == ("3 + 3 = 6.", "stop")
        found = await client.call_tool("classify", {"image": three(), "count": 1})
        assert [item["label"] for item in found.structured_content["classes"]] == ["three"]
        embedded = await client.call_tool("embed", {"texts": ["rain", "snow"]})
        assert [len(vector) for vector in embedded.structured_content["embeddings"]] == [128, 128]
        wrong = await client.call_tool("generate", {"prompt": "Hi", "model": "gpt-4"})
        assert wrong.is_error
        assert "There is no model gpt-4" in wrong.content[0].text  # type: ignore[union-attr]  # it is a text
        huge = await client.call_tool("generate", {"prompt": "Hi", "temperature": 2**70})
        assert huge.is_error
        assert "Integer exceeds 64-bit range" in huge.content[0].text  # type: ignore[union-attr]  # it is a text
        assert (await client.list_resource_templates()).resource_templates == []
        for uri, word in (("rkllmd://models", '"demo"'), ("rkllmd://status", '"uptime_s"')):
            (content,) = (await client.read_resource(uri)).contents
            assert word in content.text  # type: ignore[union-attr]  # it is a text
        with pytest.raises(MCPError, match="no tool"):
            await client.call_tool("nothing", {})
        with pytest.raises(MCPError, match="no resource"):
            await client.read_resource("rkllmd://nothing")
    upstream.close()


@pytest.mark.parametrize("mode", ERAS)
async def test_a_host_that_cancels_frees_the_npu(endless: Daemon, mode: str) -> None:
    from mcp.client.client import Client

    from rkllmd.gateway.mcp import server
    from rkllmd.gateway.upstream.upstream import Upstream

    ended = endless.calls("rkllm_run_async", "finished")
    async with Client(server.serve(Upstream(endless.path), {}), mode=mode) as client:
        with trio.CancelScope() as patience:

            async def report(progress: float, total: float | None, message: str | None) -> None:
                patience.cancel()

            await client.call_tool("generate", {"prompt": "Hi"}, progress_callback=report)
        assert patience.cancelled_caught
        await trio.to_thread.run_sync(endless.wait_finished, ended + 1)


async def test_a_host_starts_it_over_stdio(demo: str) -> None:
    from mcp.client.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    arguments = ["-m", "rkllmd", "mcp", "--socket", demo, "--classifier", "demo"]
    process = StdioServerParameters(command=sys.executable, args=arguments)
    async with Client(stdio_client(process), mode="legacy") as client:
        found = await client.call_tool("classify", {"image": three(), "count": 1})
        assert found.structured_content == {"classes": [{"index": 3, "label": "three", "score": 1.0}]}


@pytest.mark.filterwarnings("ignore:resources/subscribe is removed")
def test_hosts_come_over_http_with_a_key(demo: str, tmp_path: Path) -> None:
    import hashlib

    import anyio
    import httpx2
    from mcp.client.client import Client
    from mcp.client.streamable_http import streamable_http_client

    async def told(client: Any, mode: str, updated: Any) -> None:
        if mode == "auto":
            async with client.listen(resource_subscriptions=[STATUS]) as updates:
                async for update in updates:
                    assert update.uri == STATUS
                    return
        await client.subscribe_resource(STATUS)
        await updated.wait()

    async def come(address: str, mode: str) -> None:
        updated = anyio.Event()

        async def hear(message: Any) -> None:
            if getattr(message, "method", "") == "notifications/resources/updated":
                assert message.params.uri == STATUS
                updated.set()

        async with (
            httpx2.AsyncClient(headers={"authorization": "Bearer secret"}) as http,
            Client(
                streamable_http_client(f"{address}/mcp", http_client=http), mode=mode, message_handler=hear
            ) as client,
        ):
            assert client.protocol_version == ERAS[mode]
            answer = await client.call_tool("generate", {"prompt": "What is 2 plus 2?", "temperature": 0})
            assert answer.structured_content["text"] == "2 + 2 = 4."
            await told(client, mode, updated)

    keys = tmp_path / "keys"
    keys.write_text(hashlib.sha256(b"secret").hexdigest())
    with gateway(demo, tmp_path, "--api-keys", str(keys), name="mcp") as address:
        assert httpx2.post(f"{address}/mcp", json={}).status_code == 401
        for mode in ERAS:
            anyio.run(come, address, mode)  # on asyncio: it leaves generators behind, of which trio complains
