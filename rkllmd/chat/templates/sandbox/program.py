"""Adds to a parsed template that it pays for what it does, and refuses statements that chat templates do not have."""

from __future__ import annotations

from typing import Final

from jinja2 import TemplateSyntaxError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.visitor import NodeTransformer

from rkllmd.chat.templates.sandbox.budget import characters

# What runs between two payments is short: this many steps take about as long as a unit.
_STEPS_PER_UNIT: Final = 8
# What takes longer than a step: an attribute is looked up by the sandbox, an operator is checked.
_STEPS: Final[dict[type[nodes.Node], int]] = {
    nodes.NSRef: 24,
    **dict.fromkeys((nodes.Getattr, nodes.Getitem, nodes.Call, nodes.Filter, nodes.Test), 8),
    **dict.fromkeys((nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow), 8),
    **dict.fromkeys((nodes.Compare, nodes.Concat, nodes.Output), 8),
}
_REFUSED: Final = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.ScopedEvalContextModifier)
_BODIES: Final = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.Block)


def metered(template: nodes.Template) -> nodes.Template:
    """Return the template with payments: at each turn of a loop, in macros, and where values are looked at as wholes.

    Raises TemplateSyntaxError.
    """
    for node in template.find_all(_REFUSED):
        raise TemplateSyntaxError(f"{type(node).__name__} is nothing that a chat template has", node.lineno)
    costs = _costs(template)
    _Metering(costs).visit(template)
    template.body.insert(0, nodes.ExprStmt(_pay(costs[id(template)] // _STEPS_PER_UNIT), lineno=1))
    return template


def _costs(template: nodes.Template) -> dict[int, int]:
    """Return for each node, by its identity, how many steps it takes at most, without what loops repeat."""
    costs: dict[int, int] = {}

    def steps(node: nodes.Node) -> int:
        own = _STEPS.get(type(node), 1)
        if isinstance(node, nodes.TemplateData):
            own += characters(len(node.data)) * _STEPS_PER_UNIT
        costs[id(node)] = own + sum(map(steps, node.iter_child_nodes()))
        return costs[id(node)]

    steps(template)
    return costs


def _pay(units: int) -> nodes.Call:
    return _call("pay", nodes.Const(units))


def _call(name: str, *arguments: nodes.Expr) -> nodes.Call:
    line = max((argument.lineno or 0 for argument in arguments), default=0)
    return nodes.Call(nodes.EnvironmentAttribute(name), list(arguments), [], None, None, lineno=line)


class _Metering(NodeTransformer):
    """Replaces nodes from the innermost outwards, so that nothing that was added is looked at again."""

    def __init__(self, costs: dict[int, int]) -> None:
        self._costs = costs

    def generic_visit(self, node: nodes.Node, *args: object, **kwargs: object) -> nodes.Node:
        super().generic_visit(node)
        if isinstance(node, _BODIES):
            node.body.insert(0, nodes.ExprStmt(self._pay_for(node), lineno=node.lineno))
        return node

    def _pay_for(self, node: nodes.Node) -> nodes.Call:
        return _pay(1 + self._costs[id(node)] // _STEPS_PER_UNIT)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        test = node.test
        self.generic_visit(node)
        if test is not None and node.test is not None:
            node.test = nodes.And(self._pay_for(test), node.test)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _call("concatenated", nodes.List(node.nodes))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _weighed("weighed", node.expr)
        for operand in node.ops:
            operand.expr = _weighed("weighed", operand.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _weighed("sliced", node.node)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        node.key = _weighed("weighed", node.key)
        return node


class MeteredCode(CodeGenerator):
    """Makes code that calls what pays at once, and not by the sandbox: that would take longer than what is paid for."""

    # jinja2 wraps the method in one that takes what follows by keyword only.
    def visit_Call(self, node: nodes.Call, frame: Frame, **kwargs: bool) -> None:  # type: ignore[override]
        """Write a call."""
        if not isinstance(node.node, nodes.EnvironmentAttribute):
            super().visit_Call(node, frame, **kwargs)
            return
        self.write(f"environment.{node.node.name}(")
        for argument in node.args:
            self.visit(argument, frame)
        self.write(")")


def _weighed(how: str, node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, nodes.Const) else _call(how, node)
