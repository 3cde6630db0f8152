"""A JSON test suite of our own, after JSONTestSuite's y_ (must be accepted), n_ (must not) and i_ (pinned)."""

from __future__ import annotations

from tests.daemon import Daemon
from tests.server.input.requests import assert_recovered
from tests.wire_connection import kind

ACCEPTED = {
    "array_empty": b"[]",
    "array_nested": b"[[[]]]",
    "array_heterogenous": b'[null,1,"a",{}]',
    "array_spaces": b" [ 1 , 2 ] ",
    "object_empty": b"{}",
    "object_nested": b'{"a":{"b":{}}}',
    "object_duplicate_key": b'{"a":1,"a":2}',
    "object_empty_key": b'{"":0}',
    "object_nul_key": b'{"a\\u0000b":0}',
    "number_0": b"0",
    "number_minus_0": b"-0",
    "number_1e1": b"1e1",
    "number_1E+2": b"1E+2",
    "number_real": b"123.456e78",
    "number_int64_min": b"-9223372036854775808",
    "number_uint64_max": b"18446744073709551615",
    "string_escapes": b'"\\"\\\\\\/\\b\\f\\n\\r\\t"',
    "string_unicode": '"gr\u00fc\u00df \U0001f389"'.encode(),
    "string_pair": b'"\\ud83c\\udf89"',
    "string_nul": b'"\\u0000"',
    "string_del": b'"\x7f"',
    "string_nonchar": b'"\\uffff"',
    "string_line_separator": '"\u2028"'.encode(),
    "true": b"true",
    "false": b"false",
    "null": b"null",
}
REFUSED = {
    "array_comma": b"[1,]",
    "array_leading_comma": b"[,1]",
    "array_double_comma": b"[1,,2]",
    "array_unclosed": b"[1",
    "array_colon": b"[1:2]",
    "object_trailing_comma": b'{"a":1,}',
    "object_no_value": b'{"a":}',
    "object_no_colon": b'{"a" 1}',
    "object_unquoted_key": b"{a:1}",
    "object_number_key": b"{1:1}",
    "object_single_quotes": b"{'a':1}",
    "object_comment": b'{"a":1/**/}',
    "number_leading_zero": b"012",
    "number_plus": b"+1",
    "number_hex": b"0x1",
    "number_point": b"1.",
    "number_no_integer": b".5",
    "number_no_exponent": b"1e",
    "number_minus": b"-",
    "number_nan": b"NaN",
    "number_infinity": b"Infinity",
    "number_minus_infinity": b"-Infinity",
    "number_underscore": b"1_000",
    "string_tab": b'"\t"',
    "string_nul": b'"\x00"',
    "string_escape_x": b'"\\x41"',
    "string_short_u": b'"\\u00"',
    "string_unclosed": b'"a',
    "string_single": b"'a'",
    "string_bad_utf8": b'"\xff"',
    "string_truncated_utf8": b'"\xe2\x82"',
    "literal_capital": b"True",
    "literal_cut": b"nul",
    "two_values": b"1 2",
    "vertical_tab": b"\x0b1",
    "nbsp": b"\xc2\xa01",
    "bom": b"\xef\xbb\xbf1",
    "closing": b"]",
    "nothing": b",",
}
# What the grammar leaves to us: (value, whether it is accepted).
PINNED = {
    "number_huge_exponent": (b"1e400", False),
    "number_tiny_exponent": (b"1e-400", True),
    "number_above_uint64": (b"18446744073709551616", True),
    "string_lone_high": (b'"\\ud800"', False),
    "string_lone_low": (b'"\\udc00"', False),
    "string_swapped_pair": (b'"\\udf89\\ud83c"', False),
    "depth_127": (b"[" * 127 + b"]" * 127, True),  # 128 with the request around it
    "depth_129": (b"[" * 129 + b"]" * 129, False),
}
CORPUS = [
    *((f"y_{name}", value, True) for name, value in ACCEPTED.items()),
    *((f"n_{name}", value, False) for name, value in REFUSED.items()),
    *((f"i_{name}", value, accepted) for name, (value, accepted) in PINNED.items()),
]


def test_json_suite(serving: Daemon) -> None:
    """Each value as a member of a good request, which is ignored if it is JSON, and as a line of its own."""
    found_before_parsing = "i_depth_129"  # so the request's id is known
    with serving.connect() as wire:
        for name, value, accepted in CORPUS:
            wire.send(b'{"jsonrpc":"2.0","id":1,"method":"server.queue","ignored":' + value + b"}\n")
            answer = wire.receive()
            call_id = 1 if accepted or name == found_before_parsing else None
            assert (answer["id"], kind(answer)) == (call_id, None if accepted else "ParseError"), name
            wire.send(value + b"\n")
            answer = wire.receive()
            if isinstance(answer, list):  # an array is a batch of things that are no Requests
                assert {kind(item) for item in answer} == {"InvalidRequest"}, name
            else:
                assert kind(answer) == ("InvalidRequest" if accepted else "ParseError"), name
            assert_recovered(wire)
