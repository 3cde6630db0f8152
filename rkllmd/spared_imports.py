"""Modules that libraries import and the daemon never uses: they are imported when somebody first does use them.

Together they are 100 modules and 7 MB of a daemon of 45 MB, measured with Python 3.11. structlog imports asyncio for
its ``ainfo``, and, where other tools have brought them, rich for tracebacks in colour and greenlet for threads of its
kind; trio imports ssl for its streams by TLS; jsonschema finds its metaschemas by importlib.resources, which imports
zipfile for packages in archives.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Final

_LATER: Final = ("asyncio", "ssl", "zipfile")
# structlog has a way of its own without them.
_NEVER: Final = ("rich", "greenlet")


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
    """Put the imports off, and import structlog without what it need not have; before any library is imported."""
    for name in _LATER:
        sys.modules.setdefault(name, _Later(name))
    if "structlog" in sys.modules:
        return
    absent = [name for name in _NEVER if name not in sys.modules]
    for name in absent:
        # None makes an import fail (https://docs.python.org/3/reference/import.html#the-module-cache).
        sys.modules[name] = None  # type: ignore[assignment]  # typeshed knows only modules here
    try:
        importlib.import_module("structlog")
    finally:
        for name in absent:
            del sys.modules[name]
