"""Pictures as clients give them."""

from __future__ import annotations

import pytest

from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.pictures.given import Picture, of_base64, of_url

WHERE = "messages[0].content[1].image_url.url"


@pytest.mark.parametrize("url", ["data:image/png;base64,AAEC", "DATA:;base64,AAEC", "data:image/x;a=b;Base64,AAEC"])
def test_a_data_url_has_the_file(url: str) -> None:
    assert of_url(url, WHERE) == Picture(WHERE, b"\0\1\2")


def test_an_address_is_kept_until_it_is_fetched() -> None:
    found = of_url("https://example.org/a.png", WHERE)
    assert (found.file, found.address) == (b"", "https://example.org/a.png")
    assert found.part() == {"type": "image", "image": found}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "data:image/png,AAEC",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,AAE",
        "data:image/png;base64,AA\nEC",
        "data:image/png;base64,ÄÄEC",
        "file:///etc/passwd",
        "ftp://example.org/a.png",
        "/a.png",
        "http://" + "a" * 2048,
    ],
)
def test_what_is_no_picture_names_its_field(url: str) -> None:
    with pytest.raises(WrongField) as refused:
        of_url(url, WHERE)
    assert refused.value.name == WHERE
    assert WHERE in str(refused.value)


def test_base64_alone_is_a_file_too() -> None:
    assert of_base64("AAEC", WHERE).file == b"\0\1\2"
