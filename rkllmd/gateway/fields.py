"""The fields of a request's JSON object: each is taken once, with a check, and none is left over unnoticed.

What the daemon finds wrong with a parameter is said by the name of the field that it was made of.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from rkllmd.json_types import Json, JsonObject

# What JSON has of whole numbers here; larger ones come as floats, whose last digits are not the client's.
_LEAST: Final = -(2**63)
_BEYOND: Final = 2**64
_MESSAGE: Final = re.compile(r"messages\[(\d+)\]")


class WrongField(Exception):
    """A field that can't be served as it is; ``name`` says which, as a path such as ``messages[0].content``."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Names:
    """The fields of one request, by the parameters that they have become; both have the same name otherwise."""

    def __init__(self) -> None:
        """Begin with nothing that is named otherwise."""
        self._fields: dict[str, str] = {}
        self._messages: Sequence[str] = ()

    def add(self, parameter: str, field: str) -> None:
        """Remember that a parameter was made of a field, and what is in the one of what is in the other.

        Both are paths such as ``tools[0].function.name``.
        """
        self._fields[parameter] = field

    def move(self, parameters: Mapping[str, str]) -> None:
        """Remember which path each parameter has had so far, by that which it has now.

        So has what is in them: nothing of that may be known by a name of its own yet.
        """
        self._fields |= {now: self._fields.get(before, before) for now, before in parameters.items()}

    def add_messages(self, fields: Sequence[str]) -> None:
        """Remember of which field each message was made, where what is in it is not what is in the field."""
        self._messages = fields

    def field(self, parameter: str) -> str:
        """Return the path of the field that a parameter was made of."""
        message = _MESSAGE.match(parameter)
        if message is not None and int(message[1]) < len(self._messages):
            return self._messages[int(message[1])]
        around = [name for name in self._fields if parameter == name or parameter.startswith((f"{name}.", f"{name}["))]
        name = max(around, key=len, default="")
        return self._fields.get(name, "") + parameter.removeprefix(name)


class Fields:
    """An object of which everything is taken that is understood. Null is as if left out.

    ``names``: which of them have become parameters of another name.
    """

    def __init__(self, given: Json, where: str = "") -> None:
        """Begin with all of it; ``where`` is the path of the object in the request. Raises WrongField for no object."""
        if not isinstance(given, dict):
            raise WrongField(where, f"{where or 'The body of the request'} must be a JSON object.")
        self._left = {name: value for name, value in given.items() if value is not None}
        self._where = f"{where}." if where else ""
        self.names = Names()

    def path(self, name: str) -> str:
        """Return the path of a field in the whole request."""
        return self._where + name

    def wrong(self, name: str, message: str) -> WrongField:
        """Return the error for a field; the message is what follows its name."""
        return WrongField(self.path(name), f"{self.path(name)} {message}")

    def becomes(self, name: str, parameter: str) -> None:
        """Remember which parameter of the daemon a field is, where that has another path."""
        self.names.add(parameter, self.path(name))

    def any(self, name: str) -> Json:
        """Take a field of any type."""
        return self._left.pop(name, None)

    def text(self, name: str) -> str | None:
        """Take a string."""
        value: Json = self._left.pop(name, None)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "must be a string.")
        return value

    def needed(self, name: str, why: str = "") -> str:
        """Take a string that has to be there; ``why`` says what it is for, or what to give."""
        value = self.text(name)
        if value is None:
            raise self.wrong(name, f"is missing: {why}" if why else "is missing.")
        return value

    def flag(self, name: str) -> bool | None:
        """Take a boolean."""
        value: Json = self._left.pop(name, None)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "must be true or false.")
        return value

    def number(self, name: str) -> float | None:
        """Take a number; whether it is in its range, the daemon says."""
        value: Json = self._left.pop(name, None)
        if value is None:
            return None
        # Not every parser refuses 1e999, which no float can be.
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.wrong(name, "must be a number.")
        return value

    def integer(self, name: str, least: int | None = None) -> int | None:
        """Take a whole number of at least ``least``."""
        value = self.number(name)
        if value is None:
            return None
        if value != int(value) or (least is not None and value < least):
            raise self.wrong(name, "must be a whole number" + ("." if least is None else f" of at least {least}."))
        if not _LEAST <= value < _BEYOND:
            raise self.wrong(name, "has too many digits.")
        return int(value)

    def choice(self, name: str, choices: Sequence[str]) -> str | None:
        """Take one of some strings."""
        value = self.text(name)
        if value is not None and value not in choices:
            raise self.wrong(name, f"must be one of {', '.join(choices)}.")
        return value

    def objects(self, name: str) -> list[JsonObject] | None:
        """Take an array of objects."""
        value: Json = self._left.pop(name, None)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
            raise self.wrong(name, "must be an array of objects.")
        return value

    def texts(self, name: str) -> list[str] | None:
        """Take a string, or an array of them."""
        value: Json = self._left.pop(name, None)
        if isinstance(value, str):
            return [value]
        if value is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise self.wrong(name, "must be a string or an array of strings.")
        return value or None

    def inner(self, name: str) -> Fields:
        """Take an object, empty if it is not there."""
        value: Json = self._left.pop(name, None)
        return self.of({} if value is None else value, name)

    def of(self, given: Json, name: str) -> Fields:
        """Return what is given, which has this name here, as a part of the same request. Raises WrongField."""
        inner = Fields(given, self.path(name))
        inner.names = self.names
        return inner

    def neutral(self, values: Mapping[str, Sequence[Json]], why: str = "is not supported here: leave it out.") -> None:
        """Take fields that may only have values that change nothing."""
        for name, allowed in values.items():
            value = self._left.pop(name, None)
            if value is not None and not any(value == item and type(value) is type(item) for item in allowed):
                raise self.wrong(name, why)

    def without_effect(self, names: Sequence[str]) -> None:
        """Take fields that change no answer, whatever they are."""
        for name in names:
            self._left.pop(name, None)

    def end(self) -> None:
        """Raise WrongField if anything is left."""
        for name in self._left:
            raise self.wrong(name, "is not a field that is known here: leave it out.")
