"""Words in a prompt that stand for an image, a video or audio, such as ``<image>``: never more of them than media.

The runtime replaces each by the next embeddings. When none are left, it reads the memory behind them: this was reported
of RKLLM 1.3.1 on a board, for a literal ``<image>`` in a text without an image, and nothing says that other versions
check. So a text with more placeholders than media is refused, whatever the runtime: a client that was written on a
laptop must not read the daemon's memory on a board.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rkllmd.abi.c import Struct
from rkllmd.abi.layouts.rkllm import Layout, RKLLMInputType
from rkllmd.errors import InvalidParams
from rkllmd.language.model import Model
from rkllmd.quick_dataclass import dataclass

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted

_KINDS: Final = ("image", "video", "audio")
# Up to this many needless placeholders are counted for the sentence.
_COUNTED: Final = 1000


@dataclass(frozen=True, slots=True)
class _Medium:
    """How many items of one kind an input has, and the words that belong to them."""

    kind: str
    items: int
    # Each with its roles: it stands for an item, or marks its start or end. No role may occur more often than there are
    # items.
    words: Mapping[bytes, tuple[str, ...]]


def check_input(model: Model, rkllm_input: Converted) -> None:
    """Refuse a run's inputs if they have more placeholders than media. Raises InvalidParams."""
    many = isinstance(rkllm_input.json, list)
    for index, given in enumerate(rkllm_input.json if many else [rkllm_input.json]):
        made = rkllm_input.c[index] if many else rkllm_input.c
        path = f"{rkllm_input.path}[{index}]" if many else rkllm_input.path
        if made.input_type == RKLLMInputType.RKLLM_INPUT_PROMPT:
            name = "prompt" if isinstance(given, dict) and "prompt" in given else "prompt_input"
            _check(made.prompt_input or b"", _none_of(model.library.layout, model), f"{path}.{name}")
        elif made.input_type == RKLLMInputType.RKLLM_INPUT_MULTIMODAL:
            name = "multimodal" if isinstance(given, dict) and "multimodal" in given else "multimodal_input"
            multimodal = made.multimodal_input
            _check(multimodal.prompt or b"", _media_of(multimodal, model), f"{path}.{name}.prompt")


def check_text(text: bytes, layout: Layout, path: str) -> None:
    """Refuse placeholders in a text that is added to every prompt, such as a template. Raises InvalidParams."""
    _check(text, _none_of(layout, None), path)


def as_plain_words(text: str, layout: Layout) -> str:
    """Return ``text`` with its placeholders as plain words (``< image>``): a model's answer may contain some."""
    for kind in _kinds_of(layout):
        text = text.replace(f"<{kind}>", f"< {kind}>")
    return text


def _kinds_of(layout: Layout) -> tuple[str, ...]:
    nested = tuple(kind for kind in _KINDS if hasattr(layout["RKLLMMultiModalInput"], kind))
    return nested or ("image",)  # 1.2 has images only, and no struct for them


def _none_of(layout: Layout, model: Model | None) -> list[_Medium]:
    """Return the kinds of media, with no items each; in 1.2 the tags come with the load, later with each input."""
    tags = _tags_of_init(model) if model is not None else (None, None, None)
    return [
        _Medium(kind, 0, _words(kind, *(tags if kind == "image" else (None, None, None)))) for kind in _kinds_of(layout)
    ]


def _media_of(multimodal: Struct, model: Model) -> list[_Medium]:
    if not hasattr(multimodal, "image"):
        items = multimodal.n_image if multimodal.image_embed else 0
        return [_Medium("image", items, _words("image", *_tags_of_init(model)))]
    found = []
    for kind in _kinds_of(model.library.layout):
        part = getattr(multimodal, kind)
        tags = [getattr(part, f"{kind}_{tag}") for tag in ("start", "end", "content")]
        items = getattr(part, f"n_{kind}") if getattr(part, f"{kind}_embed") else 0
        found.append(_Medium(kind, items, _words(kind, *tags)))
    return found


def _tags_of_init(model: Model) -> tuple[bytes | None, bytes | None, bytes | None]:
    param = model.param
    return (param.img_start, param.img_end, param.img_content) if hasattr(param, "img_start") else (None, None, None)


def _words(kind: str, start: bytes | None, end: bytes | None, content: bytes | None) -> dict[bytes, tuple[str, ...]]:
    words: dict[bytes, tuple[str, ...]] = {}
    named = ((b"<%s>" % kind.encode(), "place"), (content, "place"), (start, "start"), (end, "end"))
    for word, role in named:
        if word:
            words[word] = tuple({*words.get(word, ()), role})
    return words


def _check(text: bytes, media: list[_Medium], path: str) -> None:
    words = {word for medium in media for word in medium.words}
    if not any(word in text for word in words):
        return
    # The longest first: a tag may begin with another one.
    pattern = b"|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    # A word has one of three roles at least, so more than these are too many in any case: a text may have millions.
    most = 3 * sum(medium.items for medium in media) + _COUNTED
    counts = Counter(match[0] for match in itertools.islice(re.finditer(pattern, text), most))
    for medium in media:
        for role in ("place", "start", "end"):
            found = {word: counts[word] for word, roles in medium.words.items() if role in roles and counts[word]}
            if sum(found.values()) > medium.items:
                raise _refusal(path, next(iter(found)).decode("utf-8", "replace"), sum(found.values()), medium)


def _refusal(path: str, word: str, count: int, medium: _Medium) -> InvalidParams:
    if medium.items:
        there = f"{medium.items} {medium.kind} {'is' if medium.items == 1 else 'are'}"
    else:
        there = f"no {medium.kind} is"
    times = "" if count == 1 else f" {count} times"
    return InvalidParams(
        f"{path} has {word}{times}, which stands for {medium.kind} embeddings, but {there} given: give as many as "
        f"there are placeholders, or write {word[:1]} {word[1:]} for the plain word.",
        path=path,
        keyword="placeholder",
        limit=medium.items,
        placeholder=word,
    )
