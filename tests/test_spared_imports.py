"""rkllmd/spared_imports.py: what the daemon never uses costs it nothing, and is there for whoever uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_SPARED = """
import sys
from rkllmd import spared_imports
spared_imports.spare()
import rkllmd.daemon
import rkllmd.net.listener
found = {"asyncio.events", "_ssl", "rich", "greenlet", "email"} & set(sys.modules)
assert not found, found
assert "ZipFile" not in vars(sys.modules["zipfile"])
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
    "the archive of a package is read": """
import io, zipfile
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
}


@pytest.mark.parametrize("used", _USED.values(), ids=_USED)
def test_what_is_spared_is_there_for_who_uses_it(tmp_path: Path, used: str) -> None:
    """In a process of its own: this one has imported everything."""
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("IS_OURS = True\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{_SPARED}{used}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
