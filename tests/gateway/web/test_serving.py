"""What whoever starts the gateway is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.web.serving import look_for_daemon
from tests.gateway.upstream.scripted import daemon


async def test_that_no_daemon_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.sock"
    await look_for_daemon(Upstream(str(path)))
    said = capsys.readouterr().err
    assert said.startswith(f"No daemon serves {path}: start one with 'rkllmd serve', or name its socket with --socket.")


async def test_nothing_where_one_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with daemon(tmp_path, lambda asked: []) as (_, upstream):
        await look_for_daemon(upstream)
    assert capsys.readouterr().err == ""
