"""The Python client: ``Client`` for plain programs, ``open_client`` for trio.

Both hold one connection, over which any number of requests may run. It may import ``wire`` and what is below, and needs
nothing but orjson (and trio for the second).

    with Client() as rkllm:
        print(rkllm.call("rkllm.run", {"prompt": "Hello"})["text"])
        for partial in rkllm.stream("rkllm.run_async", {"prompt": "Hello"}):
            print(partial["text"], end="")

What stands beside "method" in the protocol is a keyword argument (``session="kitchen"``, ``timeout_ms=5000``). The
client's own is ``timeout``: so many seconds for the whole call, after which it is cancelled and CallTimeout raised. All
errors are ClientErrors. Paths may be given as pathlib has them.

Where the daemon is replaced (it was restarted, or has crashed), a client goes on over another connection as far as that
can do no harm, waiting while the daemon is started:

- What changes nothing (``server.status`` …) is sent again, and ``watch`` goes on with the new daemon.
- What the daemon never had is sent to the new one, unless this client has made something over the old connection that
  is gone with it (RKNN contexts, a conversation): then ConnectionLost says so until ``reconnect()`` is called.
- What the daemon had and has not answered is never sent again: it may have had its effect. It raises Crashed.

``reconnect=True`` of a client or a call says that it relies on nothing that was made over a connection, and
``reconnect=False`` that no other connection is to be made.

Before anything is sent, a client looks who serves the socket: root, the service's user or one's own, else
PeerNotTrusted; ``requirepeer``, or RKLLM_REQUIREPEER, names another user.

Tensors go by file descriptor, so that their bytes are never written as text: give a ``Tensor``, or an array of numpy,
anywhere in the parameters, and with ``reply_fds=True`` take ``memoryview`` as the "data" of those in the result.

        result = rkllm.call("rknn.infer", {"inputs": image}, reply_fds=True)

To type checkers a result is ``Json``, whose members can be taken without a check at each step, since the protocol says
what is there; ``Params`` are the parameters, and ``RequestMembers`` what may be a keyword argument.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from rkllmd.client.errors import (
    DEFAULT_SOCKET,
    CallError,
    CallTimeout,
    ClientError,
    ConnectError,
    ConnectionLost,
    ConnectNotPermitted,
    Crashed,
    DaemonNotListening,
    PeerNotTrusted,
    SocketNotFound,
    UnusableSocketPath,
    default_socket,
    why_no_connection,
)
from rkllmd.json_types import Json, JsonObject

if TYPE_CHECKING:
    from rkllmd.client.arguments import Params, RequestMembers, Tensor
    from rkllmd.client.messages import is_partial
    from rkllmd.client.plain import Client
    from rkllmd.client.trio_client import TrioClient, open_client

__all__ = [
    "DEFAULT_SOCKET",
    "CallError",
    "CallTimeout",
    "Client",
    "ClientError",
    "ConnectError",
    "ConnectNotPermitted",
    "ConnectionLost",
    "Crashed",
    "DaemonNotListening",
    "Json",
    "JsonObject",
    "Params",
    "PeerNotTrusted",
    "RequestMembers",
    "SocketNotFound",
    "Tensor",
    "TrioClient",
    "UnusableSocketPath",
    "default_socket",
    "is_partial",
    "open_client",
    "why_no_connection",
]

if not TYPE_CHECKING:  # checkers would take every name for one that is there
    # Where to find what is imported late: the plain client does without trio, which takes a tenth of a second, and the
    # daemon without either client.
    _MODULES = {
        "Client": "plain",
        "Params": "arguments",
        "RequestMembers": "arguments",
        "Tensor": "arguments",
        "TrioClient": "trio_client",
        "is_partial": "messages",
        "open_client": "trio_client",
    }

    def __getattr__(name: str) -> object:
        """Return what is imported when it is first needed."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
