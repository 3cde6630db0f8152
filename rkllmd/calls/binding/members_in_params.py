"""Members of a request that stand inside ``params``: for JSON-RPC libraries that can't put anything beside "method".

Those that concern the connection itself (``fds``, ``reply_fds``) can't stand there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkllmd.calls.declaration import Kind, StructParameter
from rkllmd.errors import InvalidParams
from rkllmd.wire import members
from rkllmd.wire.members import MEMBERS

if TYPE_CHECKING:
    from rkllmd.calls.declaration import Method
    from rkllmd.wire.jsonrpc import Call

# The members of a call that generates text, and those of every call that waits for the NPU.
_OF_RUNS: Final = frozenset({"first_token_timeout_ms", "session", "stream"})
_OF_CALLS: Final = frozenset({"priority", "run_timeout_ms", "timeout_ms", "wait_timeout_ms"})


def lift(method: Method, call: Call) -> None:
    """Take the members that stand among the call's named parameters out, and make them members of the call.

    Only those that mean something for the method: any other is an unknown parameter. One that is null counts as left
    out. Raises InvalidParams for one that stands in both places.
    """
    given = call.params
    if not isinstance(given, dict) or given.keys().isdisjoint(MEMBERS):
        return
    found = [name for name in given if name in _taken_by(method)]
    if not found:
        return
    for name in found:
        if name in call.members.given:
            raise InvalidParams(
                f'{name} is given twice, in params and beside "method".', path=f"$.{name}", keyword="uniqueItems"
            )
    lifted = {name: given[name] for name in found if given[name] is not None}
    call.members = members.parse({**call.members.given, **lifted})
    call.params = {name: value for name, value in given.items() if name not in found}


def _taken_by(method: Method) -> frozenset[str]:
    if method.kind is Kind.INSTANT:
        return frozenset()
    names = (_OF_CALLS | _OF_RUNS) if method.abort is not None else _OF_CALLS
    own = {parameter.name for parameter in method.json_parameters}
    for parameter in method.json_parameters:
        own |= parameter.field_names if isinstance(parameter, StructParameter) else set()
    return names - own
