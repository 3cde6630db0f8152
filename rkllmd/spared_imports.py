"""What libraries import and these processes do not use: it is imported when somebody first does use it, or not at all.

There are two ways:

- A module that libraries import whole, and look into only when they use it, comes when it is looked into: trio imports
  ssl and hmac for its streams by TLS, structlog asyncio for its ``ainfo``.
- Where a library takes single names out of a module while it is itself imported, it gets these names without the module
  for just that long: Starlette takes one function out of asyncio, Hypercorn types out of ssl and multiprocessing.

An import may take a tenth of a second where an SD card is slow. An event loop that others wait for does what may need
one in ``AT_ONCE``, and what raises TakesLong there once more, on a thread.
"""

from __future__ import annotations

import importlib
import sys
import threading
from _operator import _compare_digest as compare_digest
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Final, Protocol

_LATER: Final = frozenset(
    {
        "asyncio",
        "difflib",
        "h2.events",
        "hashlib",
        "hmac",
        "html",
        "http.client",
        "idna",
        "ipaddress",
        "shutil",
        "ssl",
        "subprocess",
        "tomllib",
        "zipfile",
    }
)


def _calls(module: str, *names: str) -> dict[str, object]:
    """Return functions of a module by their names, each of which imports it when it is called."""

    def calling(name: str) -> Callable[..., object]:
        return lambda *given, **named: getattr(importlib.import_module(module), name)(*given, **named)

    return {name: calling(name) for name in names}


def _classes(*names: str) -> dict[str, object]:
    """Return classes that others can be made of, which nobody uses."""
    return {name: type(name, (), {}) for name in names}


_Names = Mapping[str, object]
_EVENT_TYPE: Final[Mapping[str, _Names]] = {"multiprocessing": {}, "multiprocessing.synchronize": {"Event": object}}
# What is None is absent: the library has a way of its own without it. Where other names are asked for, as another
# version of the library may do, the modules are imported as ever.
_WITHOUT: Final[Mapping[str, Mapping[str, _Names | None]]] = {
    # Tracebacks in colour, and threads of greenlet's kind.
    "structlog.dev": {"rich": None},
    "structlog.tracebacks": {"rich": None},
    "structlog.threadlocal": {"greenlet": None},
    # What a logger says that is to be pickled.
    "structlog._output": {"pickle": {"PicklingError": TypeError}},
    # It takes the one function that needs no OpenSSL.
    "secrets": {"hmac": {"compare_digest": compare_digest}},
    # To find the library that names threads, ctypes.util starts ldconfig and perhaps a compiler. It has this name with
    # each glibc; where there is none that has it, threads stay without names.
    "trio._core._thread_cache": {"ctypes.util": {"find_library": "lib{}.so.0".format}},
    # What checks formats (none is checked), and numbers that are multiples of others.
    "jsonschema._format": {"idna": None, "jsonpointer": None},
    "jsonschema._keywords": {"fractions": _calls("fractions", "Fraction")},
    # These types are in annotations only. Whoever serves by TLS imports ssl before Hypercorn.
    "hypercorn.config": {
        "ssl": dict.fromkeys(
            (
                "create_default_context",
                "OP_NO_COMPRESSION",
                "Purpose",
                "SSLContext",
                "TLSVersion",
                "VerifyFlags",
                "VerifyMode",
            )
        )
    },
    "hypercorn.logging": {"logging.config": _calls("logging.config", "dictConfig", "fileConfig")},
    "hypercorn.trio.run": _EVENT_TYPE,
    "hypercorn.typing": _EVENT_TYPE,
    "hypercorn.utils": _EVENT_TYPE,
    # HTTP/2 is not served (gateway/web/bounds/connections.py).
    "hypercorn.protocol": {"hypercorn.protocol.h2": {"H2Protocol": None}},
    # WebSockets come with the first one (likewise).
    "hypercorn.protocol.h11": {"hypercorn.protocol.ws_stream": {"WSStream": None}},
    # In Python 3.14 asyncio's own is inspect's.
    "starlette._utils": {"asyncio": _calls("inspect", "iscoroutinefunction")},
    # Forms.
    "starlette.formparsers": {
        "python_multipart": None,
        "multipart": None,
        "tempfile": _calls("tempfile", "SpooledTemporaryFile"),
    },
    "starlette.requests": {"python_multipart": None, "multipart": None},
    "starlette.responses": {
        "email": {},
        "email.utils": _calls("email.utils", "format_datetime", "formatdate"),
        "mimetypes": _calls("mimetypes", "guess_type"),
    },
    # A server that is not ours, which it would change.
    "sse_starlette.sse": {"uvicorn": None},
    # Servers and clients of HTTP, beside the text that is wanted.
    "prometheus_client.exposition": {
        "http.server": _classes("BaseHTTPRequestHandler"),
        "socketserver": _classes("ThreadingMixIn"),
        "ssl": _classes("PROTOCOL_TLS_CLIENT", "PROTOCOL_TLS_SERVER", "SSLContext", "TLSVersion"),
        "urllib.error": _classes("HTTPError"),
        "urllib.request": _classes(
            "BaseHandler", "HTTPHandler", "HTTPRedirectHandler", "HTTPSHandler", "Request", "build_opener"
        ),
        "wsgiref.simple_server": _classes("WSGIRequestHandler", "WSGIServer", "make_server"),
    },
}


class TakesLong(Exception):
    """A module that is not there yet is wanted where others would wait for its import."""


class _AtOnce(threading.local):
    """A context in which this thread imports none of the modules that come later; it is entered once at a time."""

    is_entered = False

    def __enter__(self) -> None:
        self.is_entered = True

    def __exit__(self, *_: object) -> None:
        self.is_entered = False


AT_ONCE: Final = _AtOnce()


def before_import(name: str) -> None:
    """Announce the import of a module that comes later. Raises TakesLong in AT_ONCE, unless the module is there."""
    if not AT_ONCE.is_entered:
        return
    module = sys.modules.get(name, _ABSENT)
    # Another thread may be importing it, for which the import statement would wait; it too looks at this.
    if isinstance(module, _Later) or getattr(module.__spec__, "_initializing", False):
        raise TakesLong(name)


class _Later(ModuleType):
    """A module that is imported when something of it is asked for.

    importlib.util.LazyLoader does not serve here: the import statement itself asks for ``__spec__``, so that the first
    ``import asyncio`` anywhere would end the wait.
    """

    def __getattr__(self, name: str) -> object:
        before_import(self.__name__)
        if sys.modules.get(self.__name__) is self:
            _wanted.add(self.__name__)
            del sys.modules[self.__name__]
        module = importlib.import_module(self.__name__)
        self.__dict__.update(module.__dict__)
        return getattr(module, name)


# Stands for a module that is not imported yet, also later.
_ABSENT: Final = _Later("absent")
# Of the modules that come later, those that somebody has used.
_wanted: Final[set[str]] = set()


class _LaterLoader:
    """Makes the modules that come later."""

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave that to the interpreter."""

    def exec_module(self, module: ModuleType) -> None:
        """Let the module wait."""
        module.__class__ = _Later


class _Loader(Protocol):
    def create_module(self, spec: ModuleSpec) -> ModuleType | None: ...

    def exec_module(self, module: ModuleType) -> None: ...


class _WithoutLoader:
    """Loads a module, while others are replaced by single names of theirs."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Make the module as ever."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute it, once more as ever where it wants more than there is."""
        module.__loader__ = self._loader  # type: ignore[assignment]  # it is whatever the interpreter has found
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader  # type: ignore[assignment]  # likewise
        try:
            with _replaced(_WITHOUT[module.__name__]):
                self._loader.exec_module(module)
        except (AttributeError, ImportError, TypeError):
            self._loader.exec_module(module)


@contextmanager
def _replaced(modules: Mapping[str, _Names | None]) -> Iterator[None]:
    """Put modules with only these names in the place of those that are not imported yet."""
    waiting = [name for name in modules if isinstance(sys.modules.get(name, _ABSENT), _Later)]
    found = {name: sys.modules.get(name) for name in waiting}
    try:
        for name in waiting:
            _put(name, _module(name, modules[name]))
        yield
    finally:
        for name in reversed(waiting):
            _put(name, found[name])
            if found[name] is None:
                del sys.modules[name]


def _module(name: str, names: _Names | None) -> ModuleType | None:
    if names is None:
        return None
    module = ModuleType(name)
    vars(module).update(names)
    return module


def _put(name: str, module: ModuleType | None) -> None:
    """Let this module be found; None makes its import fail, as https://docs.python.org/3/reference/import.html says."""
    sys.modules[name] = module  # type: ignore[assignment]  # typeshed knows only modules here
    parent, _, child = name.rpartition(".")
    if parent:
        vars(importlib.import_module(parent))[child] = module


class _Finder:
    """Finds the modules that are not loaded as ever."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load such a module, None for others."""
        if name in _LATER and name not in _wanted:
            return ModuleSpec(name, _LaterLoader())  # type: ignore[arg-type]  # typeshed wants a class of importlib.abc
        if name not in _WITHOUT:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _WithoutLoader(spec.loader)  # type: ignore[assignment]  # likewise
        return spec


def spare() -> None:
    """Begin with it, before any library is imported."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
