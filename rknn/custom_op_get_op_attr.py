"""rknn_custom_op_get_op_attr: return an attribute that the model gives to a custom operator.

C: void rknn_custom_op_get_op_attr(rknn_custom_op_context *op_ctx, const char *attr_name, rknn_custom_op_attr *op_attr)

In C this works only inside an operator's callbacks. There the daemon asks for the attributes that were named to
rknn.register_custom_ops as ``attr_names``, and this method returns what it learned. ``op_ctx`` names the node: the
context, the operator's op_type, and the node's index among those of that type.
"""

from __future__ import annotations

from rkllmd.calls.declaration import COnly, Kind, Value, method
from rkllmd.calls.handles import resolve
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.vision.parts import Vision

_OP_CTX = Value(
    "op_ctx",
    {
        "type": "object",
        "properties": {
            "context": {"type": ["integer", "null"], "minimum": 1},
            "op_type": {"type": "string"},
            "node": {"type": "integer", "minimum": 0, "description": "Among the nodes of this type, from 0."},
        },
        "required": ["op_type"],
        "additionalProperties": False,
    },
)


@method(Kind.INSTANT, [_OP_CTX, Value("attr_name", {"type": "string"}), COnly("op_attr")])
def custom_op_get_op_attr(vision: Vision, invocation: Invocation, op_ctx: JsonObject, attr_name: str) -> JsonObject:
    """Return name, dtype, n_elems and data; data is null for an attribute that the node does not have."""
    ctx = resolve([vision.contexts], op_ctx.get("context"), invocation.client.number)
    nodes = [attributes for op_type, attributes in list(ctx.operator_nodes) if op_type == op_ctx["op_type"]]
    node = op_ctx.get("node", 0)
    if node >= len(nodes):
        raise InvalidParams(
            "$.op_ctx names no node whose attributes were read: register its operator with attr_names first.",
            path="$.op_ctx",
            keyword="maximum",
            limit=len(nodes) - 1,
        )
    if attr_name not in nodes[node]:
        raise InvalidParams(
            "$.attr_name was not among the attr_names of rknn.register_custom_ops.",
            path="$.attr_name",
            keyword="enum",
            limit=list(nodes[node]),
        )
    found: JsonObject = nodes[node][attr_name]
    return found
