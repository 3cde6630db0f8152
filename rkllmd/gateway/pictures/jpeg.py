"""In how many scans a JPEG comes, by its bytes.

Each is a pass over all pixels, takes no more than 100 bytes, and decoders have no limit for them: a file of 16 MiB can
keep a processor busy for an hour. And unless the first one has everything, a decoder keeps all coefficients until the
last one has come, six bytes for a pixel, however small the picture is to be.
"""

from __future__ import annotations

import re
from typing import Final

from rkllmd.quick_dataclass import dataclass

# Where libjpeg sees a marker that has a length, or the end, in what is compressed as well: there 0xff is followed by 0.
# Those without are TEM, what stands between parts of a scan (RST), and the beginning. Of several 0xff only the last one
# is looked at: a pattern for all of them would begin anew at each, which for a long row takes the square of it.
_MARKER: Final = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
_SCAN: Final = 0xDA
_END: Final = 0xD9
# Frames whose scans have all of the components that they name: baseline, extended, and arithmetic.
_SEQUENTIAL: Final = (0xC0, 0xC1, 0xC9)


@dataclass(frozen=True, slots=True)
class Scans:
    """How many there are, and whether the only one has everything."""

    count: int
    is_whole: bool


def scans(file: bytes, most: int) -> Scans:
    """Return those of the first picture of a file; no more are counted than one more than ``most``."""
    count = at = components = 0
    is_whole = False
    while count <= most and (found := _MARKER.search(file, at)):
        marker, at = found[1][0], found.end()
        if marker == _END:
            break
        if marker in _SEQUENTIAL:
            components = _byte(file, at + 7)
        elif marker == _SCAN:
            count += 1
            is_whole = count == 1 and _byte(file, at + 2) == components
        at += int.from_bytes(file[at : at + 2], "big")
    return Scans(count, is_whole)


def _byte(file: bytes, at: int) -> int:
    return file[at] if at < len(file) else 0
