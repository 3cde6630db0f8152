"""Modules that libraries import and the daemon never uses: they are imported when somebody first does use them.

Together they are 100 modules and 7 MB of a daemon of 45 MB, measured with Python 3.11. structlog imports asyncio for
its ``ainfo``, and rich, where any other tool has brought that, for tracebacks in colour; trio imports ssl for its
streams by TLS; jsonschema finds its metaschemas by importlib.resources, which imports zipfile for packages in archives.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Final

_LATER: Final = ("asyncio", "ssl", "zipfile")
# It has a way of its own without it.
_NEVER: Final = "rich"


class _Later(ModuleType):
    """A module that is imported when something of it is asked for.

    importlib.util.LazyLoader does not serve here: the import statement itself asks for ``__spec__``, so that the first
    ``import asyncio`` anywhere would end the wait.
    """

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = importlib.import_module(self.__name__)
        self.__dict__.update(module.__dict__)
        return getattr(module, name)


def spare() -> None:
    """Put the imports off, and import structlog without rich; to be called before any library is imported."""
    for name in _LATER:
        sys.modules.setdefault(name, _Later(name))
    if _NEVER in sys.modules or "structlog" in sys.modules:
        return
    # None makes an import fail (https://docs.python.org/3/reference/import.html#the-module-cache).
    sys.modules[_NEVER] = None  # type: ignore[assignment]  # typeshed knows only modules here
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules[_NEVER]
