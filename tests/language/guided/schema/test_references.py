"""References between the schemas of one document."""

from __future__ import annotations

import pytest

from rkllmd.errors import InvalidParams
from rkllmd.language.guided.schema.references import check, target

PLACES = {"$.format", "$.format.$defs.a", "$.format.anyOf[1]", "$.format.$defs.a/b~ c"}


@pytest.mark.parametrize("reference", ["#", "#/$defs/a", "#/anyOf/1", "#/$defs/a~1b~0%20c"])
def test_a_schema_in_the_same_document_can_be_referred_to(reference: str) -> None:
    check(reference, "$.format.$ref", "$.format", PLACES)


@pytest.mark.parametrize("reference", ["https://example.org", "#a", "#/$defs/b", "other#/a", "#/anyOf", ""])
def test_nothing_else_can(reference: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        check(reference, "$.format.properties.x.$ref", "$.format", PLACES)
    assert caught.value.data == {"path": "$.format.properties.x.$ref", "keyword": "$ref"}


def test_where_a_reference_points_to() -> None:
    assert target("#/prefixItems/0/items", "$") == "$.prefixItems[0].items"
