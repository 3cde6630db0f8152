"""Where in a rendered conversation the prompt for the answer begins, which ``add_generation_prompt`` adds.

Most templates end with ``{% if add_generation_prompt %}…{% endif %}`` and use the name nowhere else. A mark that is
written before that, and taken out again, tells where the text without it would end: so it need not be rendered twice.
"""

from __future__ import annotations

import secrets
from typing import Final

from jinja2 import nodes

_NAME: Final = "add_generation_prompt"
# Nobody outside can know it, so no template and no message has it.
_MARK: Final = secrets.token_hex(16)


def with_mark(template: nodes.Template) -> nodes.Template:
    """Return a parsed template that writes the mark, if nothing but its last statement depends on the name."""
    last = template.body[-1] if template.body else None
    used = sum(len(_names(node)) for node in template.body if not _is_default(node))
    is_alone = isinstance(last, nodes.If) and not last.elif_ and not last.else_ and _begins_with_name(last.test)
    if last is not None and is_alone and used == 1:
        template.body.insert(-1, nodes.Output([nodes.TemplateData(_MARK)], lineno=last.lineno))
    return template


def taken_out(rendered: str) -> tuple[str, int | None]:
    """Return the text without the mark, and how many characters stand behind it; None if it is not there."""
    before, mark, behind = rendered.partition(_MARK)
    return before + behind, len(behind) if mark else None


def _names(node: nodes.Node) -> list[nodes.Name]:
    found = [node] if isinstance(node, nodes.Name) else list(node.find_all(nodes.Name))
    return [name for name in found if name.name == _NAME]


def _begins_with_name(test: nodes.Node) -> bool:
    """Return whether a condition is the name, or that and something else."""
    while isinstance(test, nodes.And):
        test = test.left
    return isinstance(test, nodes.Name) and test.name == _NAME


def _is_default(node: nodes.Node) -> bool:
    """Return whether a statement gives the name a value if it has none: it always has one here."""
    if not isinstance(node, nodes.If) or node.elif_ or node.else_ or not isinstance(node.test, nodes.Not):
        return False
    test = node.test.node
    return isinstance(test, nodes.Test) and test.name == "defined" and len(_names(test)) == 1
