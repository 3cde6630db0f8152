"""Regular expressions that mean the same to ECMAScript, Rust and Python, and those that do not."""

from __future__ import annotations

import re

import pytest

from rkllmd.language.guided.schema.patterns import Unreadable, check, escaped


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "^a+$",
        "^[a-z]{2,5}$",
        "^(?:a|b)*?$",
        "\\d{3}-\\d{4}",
        "^[\\w.-]+@\\w+\\.com$",
        "[-a]",
        "\\u00e9|ü",
        "a{0}",
        "^([ab]*a[ab]{30}|b)*$",
        "^([ab]*a[ab]{300})?c{100}$",
        "^[a-z]*-[a-z]{1000}$",
        "[^\\]]",
    ],
)
def test_what_everybody_reads_alike_is_taken(pattern: str) -> None:
    check(pattern)


def test_what_is_costly_to_follow_is_counted() -> None:
    assert check("^(a+b{3}){2}$") == 8
    assert check("^[a-z]{90}x+") == 0


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(?=a)b", "group"),
        ("(?i)a", "group"),
        ("(?<n>a)", "group"),
        ("(a)\\1", "escape"),
        ("\\bword", "escape"),
        ("\\p{L}", "escape"),
        ("\\ud800", "digits"),
        ("\\x4", "ends too early"),
        ("a\\", "ends too early"),
        ("[a[b]]", "in [ ]"),
        ("[a&&b]", "in [ ]"),
        ("[]a]", "without a character"),
        ("[z-a]", "range"),
        ("[\\d-z]", "range"),
        ("[a", "ends too early"),
        ("(a", "without a )"),
        ("a)", "without a ("),
        ("a{", "means nothing"),
        ("a{,3}", "means nothing"),
        ("a{3,2}", "wrong way round"),
        ("a{10000}", "9999"),
        ("*a", "means nothing"),
        ("a**", "repeats a repetition"),
        ("a++", "repeats a repetition"),
        ("((a{100}){100}){100}", "parts"),
        ("(" * 20 + "a" + ")" * 20, "in each other"),
        ("a" * 513, "longer"),
        ("^(([ab]*a[ab]{60})|([ab]*b[ab]{70}))*$", "128 parts"),
        ("(a{2,}b{127}){2}", "128 parts"),
    ],
)
def test_what_somebody_reads_otherwise_or_takes_long_is_not(pattern: str, why: str) -> None:
    with pytest.raises(Unreadable) as caught:
        check(pattern)
    assert why in str(caught.value)


def test_a_text_is_escaped_so_that_it_is_found_as_it_is() -> None:
    text = "a.b*(c)[d]{2}^$|\\?+ é-/"
    assert check(escaped(text)) == 0
    assert re.fullmatch(escaped(text), text)
    assert not re.fullmatch(escaped("a.b"), "axb")
