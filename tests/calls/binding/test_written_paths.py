"""An error's path is translated into what the client wrote, and nothing else is."""

from __future__ import annotations

import pytest

from rkllmd.calls.binding.params import Given
from rkllmd.calls.binding.written_paths import as_written
from rkllmd.errors import Cancelled, InvalidParams


def written(path: str, **given: str) -> InvalidParams:
    """Return an error at ``path`` as the client gets it; ``given``: where each parameter stood."""
    with (
        pytest.raises(InvalidParams) as caught,
        as_written({name: Given(None, place) for name, place in given.items()}),
    ):
        raise InvalidParams(f"{path} is wrong.", path=path, detail=f"{path}.")
    return caught.value


@pytest.mark.parametrize(
    ("path", "given", "expected"),
    [
        ("$.mem", {"mem": "$[1]"}, "$[1]"),
        ("$.mem.offset", {"mem": "$[1]"}, "$[1].offset"),
        ("$.inputs[2].buf", {"mem": "$[0]", "inputs": "$[1]"}, "$[1][2].buf"),
        ("$.context", {"context": "$.ctx"}, "$.ctx"),
        ("$.attr.fmt", {"attr": "$"}, "$.fmt"),
        ("$.mem", {"mem": "$.mem"}, "$.mem"),
        ("$.memory", {"mem": "$[1]"}, "$.memory"),
        ("$.other", {"mem": "$[1]"}, "$.other"),
        # The function knows where it stands.
        ("$.mem.mem", {"mem": "$.mem.mem"}, "$.mem.mem"),
        ("$.param.a\\b", {"param": "$.a\\b"}, "$.a\\b.a\\b"),
    ],
)
def test_the_path_is_that_of_what_was_written(path: str, given: dict[str, str], expected: str) -> None:
    error = written(path, **given)
    assert error.data["path"] == expected
    assert error.message == f"{expected} is wrong."
    assert error.data["detail"] == f"{expected}."


def test_only_whole_names_of_the_sentence_are_translated() -> None:
    with pytest.raises(InvalidParams) as caught, as_written({"mem": Given(None, "$[0]")}):
        raise InvalidParams("$.mem is no $.memory, $.mem.x is.", path="$.mem")
    assert caught.value.message == "$[0] is no $.memory, $[0].x is."
    assert "detail" not in caught.value.data


def test_an_error_without_a_path_and_one_of_pythons_pass_as_they_are() -> None:
    with pytest.raises(Cancelled, match=r"^\$\.mem is gone\.$"), as_written({"mem": Given(None, "$[0]")}):
        raise Cancelled("$.mem is gone.")
    with pytest.raises(ZeroDivisionError), as_written({"mem": Given(None, "$[0]")}):
        _ = 1 / 0
