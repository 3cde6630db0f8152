"""Whether a file looks like a language model of this runtime; checked before a loaded model is unloaded for it.

Only the size and the first bytes are checked. It is not published what a .rkllm file begins with, so for the vendor's
runtime only files that are plainly something else are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkllmd import open_files
from rkllmd.errors import InvalidParams

if TYPE_CHECKING:
    from rkllmd.language.runtime import Runtime

_GGUF: Final = b"GGUF"
_OTHERS: Final = {
    b"version https://git-lfs": "a Git LFS pointer and not the model itself: fetch it with git lfs pull",
    b"<": "a page of HTML or XML: the download has probably failed",
    b"PK\3\4": "a ZIP archive: unpack it, or convert it (PyTorch) first",
    b"RKNN": "an RKNN model: load it with rknn.init",
}
_FIRST_BYTES: Final = 32


def check(runtime: Runtime, path: str, where: str) -> None:
    """Raise InvalidParams for a file that can't be a model of this runtime; ``where`` is its path in the JSON."""
    if runtime.name == "simulator":  # any content will do
        return
    with open(path, "rb", opener=open_files.without_waiting) as file:
        first = file.read(_FIRST_BYTES)
    what = None if first else "empty"
    for beginning, name in _OTHERS.items():
        if first.startswith(beginning):
            what = name
    if runtime.name == "portable" and what is None and not first.startswith(_GGUF):
        what = "not a GGUF file (.rkllm files run only on the NPU, with the vendor's runtime)"
    if runtime.name == "vendor" and first.startswith(_GGUF):
        what = "a GGUF file, which runs only on the portable runtime: give the .rkllm file that was made for the NPU"
    if what is not None:
        raise InvalidParams(f"model_path: {path} is {what}.", path=where, keyword="format")
