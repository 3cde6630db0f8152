"""Namespaces of /v1/responses: functions that belong together, each of whose calls says to which namespace.

For a model each is a function whose name begins with that of its namespace.
"""

from __future__ import annotations

from typing import Final

from rkllmd.gateway.fields import Fields
from rkllmd.json_types import JsonObject

KIND: Final = "namespace"
_BETWEEN: Final = "__"


class Namespaces:
    """Those of a request."""

    def __init__(self) -> None:
        """Begin with none."""
        # By the name that a function has for the model: what its calls are to say of it.
        self.calls: JsonObject = {}

    def take(self, tool: Fields, first: int) -> list[JsonObject]:
        """Take one, but for its type; return the functions that it is for a model. Raises WrongField.

        ``first`` is the place of the first of them among the tools of a run.
        """
        namespace, about = tool.needed("name"), tool.text("description")
        given = tool.objects("tools") or ()
        tool.end()
        functions: list[JsonObject] = []
        for index, item in enumerate(given):
            inner = tool.of(item, f"tools[{index}]")
            tool.becomes(f"tools[{index}]", f"tools[{first + index}].function")
            function = _function(inner, namespace)
            self.calls[function["name"]] = {"name": item["name"], "namespace": namespace}
            functions.append(function)
        if functions and about:  # once, before the first of them
            functions[0]["description"] = "\n\n".join(filter(None, (about, functions[0].get("description"))))
        return functions


def _function(tool: Fields, namespace: str) -> JsonObject:
    if tool.text("type") != "function":
        raise tool.wrong("type", "can only be function in a namespace.")
    function: JsonObject = {"name": joined(namespace, tool.needed("name"))}
    for name, value in (("description", tool.text("description")), ("parameters", tool.any("parameters"))):
        if value is not None:
            function[name] = value
    tool.neutral({"defer_loading": (False,), "async": (False,), "allowed_callers": (["direct"],)})
    tool.without_effect(("strict", "output_schema"))
    tool.end()
    return function


def joined(namespace: str | None, name: str) -> str:
    """Return the name that a function has for the model."""
    return name if namespace is None else f"{namespace}{_BETWEEN}{name}"
