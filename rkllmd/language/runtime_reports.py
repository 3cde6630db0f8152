"""What is reported of single versions of RKLLM on boards, and what the daemon does about it.

Nobody on the team has a board. A limit that is documented is checked before C is called. What is only reported is
mentioned where it explains a failure, and listed in docs/configuration.md.
"""

from __future__ import annotations

from typing import Final

from rkllmd.abi.library import Library
from rkllmd.errors import InvalidParams
from rkllmd.machine.platform import Platform

# Manual 1.3.1: max_context_len is a multiple of 32 and at most 16384.
_CONTEXT_STEP: Final = 32
_CONTEXT_MAXIMUM: Final = 16384
_CONTEXT_VERSIONS: Final = frozenset({"1.3.1"})

# The build of 1.3.0 for aarch64 has SVE instructions (issue 518 of airockchip/rknn-llm); no SoC of Rockchip's has them.
_SVE_VERSIONS: Final = frozenset({"1.3.0"})
# By a public report of 1.3.1 on an RK3588.
_SILENT_VERSIONS: Final = frozenset({"1.3.1"})


def check_context(library: Library, runtime: str, wanted: int, path: str) -> None:
    """Refuse a max_context_len that the vendor's runtime does not accept. Raises InvalidParams."""
    if runtime == "portable" or library.version not in _CONTEXT_VERSIONS:
        return
    if wanted > _CONTEXT_MAXIMUM:
        keyword, limit, words = "maximum", _CONTEXT_MAXIMUM, f"at most {_CONTEXT_MAXIMUM}"
    elif wanted > 0 and wanted % _CONTEXT_STEP:
        keyword, limit, words = "multipleOf", _CONTEXT_STEP, f"a multiple of {_CONTEXT_STEP}"
    else:
        return
    where = f"{path}.max_context_len"
    raise InvalidParams(
        f"{where} must be {words} with RKLLM {library.version}.", path=where, keyword=keyword, limit=limit
    )


def why_silent(version: str, max_context_len: int) -> str:
    """Return a sentence on why a run may have failed without printing or calling back; "" if nothing is known."""
    if version not in _SILENT_VERSIONS:
        return ""
    return (
        f" RKLLM {version} is reported to do so if the prompt is longer than max_context_len ({max_context_len} "
        'tokens), and if the input of role "tool" is not JSON.'
    )


def problems(version: str | None, platform: Platform, soc: str | None) -> list[str]:
    """Return what is known to go wrong with this version of the vendor's library on this machine, in sentences."""
    if version not in _SVE_VERSIONS:
        return []
    has_sve = platform.has_sve()
    if has_sve or (has_sve is None and soc is None):
        return []
    return [
        f"The aarch64 build of RKLLM {version} was reported to use SVE instructions, which "
        f"{soc or 'this processor'} does not have: if the daemon dies of SIGILL (illegal instruction), that is why. "
        "Install RKLLM 1.3.1 or 1.2.3."
    ]
