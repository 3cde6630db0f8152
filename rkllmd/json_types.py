"""What JSON values are to the type checker: one name for them, so that a plain ``Any`` anywhere else is a question."""

from __future__ import annotations

from typing import Any, TypeAlias

Json: TypeAlias = Any
"""A JSON value: null, a boolean, a number, a string, an array or an object; in a request also a ``LongString``.

Not a recursive union: each step into a value would then have to be narrowed. That would cost more than it finds, since
the schemas have checked what a client sends before anybody looks inside, and an answer is only ever written.
"""

JsonObject: TypeAlias = dict[str, Json]
"""A JSON object."""
