"""rkllmd/spared_imports.py: what daemon and gateway do not use costs nothing, and is there for whoever uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_SPARED = """
import sys
from rkllmd import spared_imports
spared_imports.spare()
"""
# What was spared once and comes back unnoticed costs every board.
_DAEMON = """
import rkllmd.daemon
import rkllmd.net.listening.listener
from rkllmd.calls import registry
registry.warm_up(registry.discover())
found = {"asyncio.events", "_ssl", "_hashlib", "rich", "greenlet", "email", "idna.core", "jsonschema", "pickle", "bz2",
    "_posixsubprocess", "tomllib._parser"}
found &= set(sys.modules)
assert not found, found
"""
_GATEWAY = """
import rkllmd.gateway.web.serving
from rkllmd.cli import command
try:
    command.run(["gateway", "--no-such-option"])
except SystemExit:
    pass
found = {"asyncio.events", "_ssl", "_hashlib", "email", "hpack", "html.entities", "multiprocessing.context", "uvicorn",
    "prometheus_client", "python_multipart", "rkllmd.config.settings", "structlog", "urllib.request", "wsproto"}
found &= set(sys.modules)
assert not found, found
"""
_USED = {
    "asyncio is whole for who uses it": """
import asyncio
async def three(): return 3
assert asyncio.run(three()) == 3
assert sys.modules["asyncio"].events is asyncio.events
""",
    "from takes a name out of it": "from ssl import SSLContext, PROTOCOL_TLS_CLIENT\nSSLContext(PROTOCOL_TLS_CLIENT)",
    "a module in it can be imported": "import asyncio.subprocess\nassert asyncio.subprocess.PIPE == -1",
    "a module of a package is found in it": "import http.client\nassert http.client.responses[200] == 'OK'",
    "a process is started": "import subprocess\nassert subprocess.run(['true'], check=True).returncode == 0",
    "the archive of a package is read": """
import io, jsonschema, zipfile
zipfile.ZipFile(io.BytesIO(), "w").close()
""",
    "what it does not have is an AttributeError": """
import ssl
try:
    ssl.nothing
except AttributeError as error:
    assert "ssl" in str(error)
else:
    raise AssertionError
""",
    "rich is there for others": """
import rich
assert rich.IS_OURS
spared_imports.spare()
assert sys.modules["rich"] is rich
""",
    "secrets can be compared": "import secrets\nassert secrets.compare_digest('a', 'a') and secrets.token_hex(2)",
    "threads have names": """
import threading
from trio._core import _thread_cache
_thread_cache.set_os_thread_name(threading.get_ident(), "named")
assert open(f"/proc/self/task/{threading.get_native_id()}/comm").read() == "named\\n"
import ctypes.util
assert ctypes.util.find_library("nothing") is None
""",
}
_USED_BESIDE_GATEWAY = {
    "functions are there when they are called": """
from starlette.responses import FileResponse
assert FileResponse("a.png").media_type == "image/png"
""",
    "what was replaced is whole for others": """
import asyncio, email.utils, multiprocessing, ssl, tempfile
assert email.utils.formatdate(0) == "Thu, 01 Jan 1970 00:00:00 -0000"
assert multiprocessing.get_context and asyncio.run and tempfile.mkdtemp and ssl.SSLContext
""",
    "coroutine functions are known": """
from starlette import _utils
async def one(): ...
assert _utils.iscoroutinefunction(one) and not _utils.iscoroutinefunction(print)
""",
}

# Another thread imports while this one may not, and is imported from here when it has ended.
_AT_ONCE = """
import ssl, threading
from rkllmd.spared_imports import AT_ONCE, TakesLong, before_import

def takes_long(look):
    try:
        with AT_ONCE:
            look()
    except TakesLong:
        return True
    return False

begun, go_on = threading.Event(), threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "ours":
            from importlib.machinery import ModuleSpec
            return ModuleSpec(name, self)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        begun.set()
        go_on.wait()

sys.meta_path.insert(0, Slow())
assert takes_long(lambda: ssl.SSLContext)
assert takes_long(lambda: before_import("ours"))
thread = threading.Thread(target=lambda: (before_import("ours"), __import__("ours")))
thread.start()
begun.wait()
assert takes_long(lambda: before_import("ours")), "it is not ready"
go_on.set()
thread.join()
assert not takes_long(lambda: before_import("ours"))
assert takes_long(lambda: ssl.SSLContext)
assert ssl.SSLContext and not takes_long(lambda: ssl.SSLContext)
"""


def _run(tmp_path: Path, program: str) -> None:
    """Run it in a process of its own: this one has imported everything."""
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("IS_OURS = True\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{program}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("used", _USED.values(), ids=_USED)
def test_what_is_spared_is_there_for_who_uses_it(tmp_path: Path, used: str) -> None:
    _run(tmp_path, _SPARED + _DAEMON + used)


@pytest.mark.parametrize("used", _USED_BESIDE_GATEWAY.values(), ids=_USED_BESIDE_GATEWAY)
def test_what_the_gateway_is_spared_is_there_for_who_uses_it(tmp_path: Path, used: str) -> None:
    _run(tmp_path, _SPARED + _GATEWAY + used)


def test_tls_is_served_where_it_was_imported_before(tmp_path: Path) -> None:
    program = "import ssl; ssl.SSLContext\nimport hypercorn.config\nassert hypercorn.config.Purpose is ssl.Purpose"
    _run(tmp_path, _SPARED + program)


def test_a_library_that_wants_more_is_imported_as_ever(tmp_path: Path) -> None:
    """As another version of it may."""
    (tmp_path / "sse_starlette").mkdir()
    (tmp_path / "sse_starlette" / "__init__.py").touch()
    (tmp_path / "sse_starlette" / "sse.py").write_text("from uvicorn import IS_OURS")
    (tmp_path / "uvicorn.py").write_text("IS_OURS = True\n")
    _run(tmp_path, f"{_SPARED}import sse_starlette.sse\nassert sse_starlette.sse.IS_OURS")


def test_an_event_loop_does_not_wait_for_an_import(tmp_path: Path) -> None:
    _run(tmp_path, _SPARED + _AT_ONCE)
