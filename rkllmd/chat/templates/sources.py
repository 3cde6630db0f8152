"""Where a model's own template comes from: the folder of its tokenizer, or a GGUF file.

The rules are those of transformers (``tokenization_utils_base.py``): ``chat_template.jinja`` goes before the template
in ``tokenizer_config.json``, ``additional_chat_templates`` has others by their names, and the one named ``tool_use`` is
for conversations with tools.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject
from rkllmd.portable import gguf
from rkllmd.quick_dataclass import dataclass

CONFIGURATION: Final = "tokenizer_config.json"
TEMPLATE: Final = "chat_template.jinja"
# Of processors for pictures, which have a tokenizer in the same folder.
_PROCESSOR_TEMPLATE: Final = "chat_template.json"
_TOKENIZER: Final = "tokenizer.json"
_MORE: Final = "additional_chat_templates"
_OLD_NAMES: Final = "special_tokens_map.json"
# That of the largest vocabularies has 35 MB.
_MOST_BYTES: Final = 2**27
_TOKEN_NAMES: Final = (*("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"),)
_GGUF_NAMES: Final = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}


@dataclass(frozen=True)
class Source:
    """A model's templates by their names, and the tokens that a template can name, or that are no words.

    ``place``: the folder or file, for errors. ``control``: tokens that steer the model, wherever they stand;
    ``tags``: others that stand for themselves, such as ``<think>``.
    """

    place: str
    templates: tuple[tuple[str, str], ...]
    named_tokens: tuple[tuple[str, str], ...]
    control: frozenset[str]
    tags: frozenset[str]

    def template(self, *, with_tools: bool) -> str | None:
        """Return the template for a conversation with or without tools; None if there is none."""
        templates = dict(self.templates)
        if with_tools and "tool_use" in templates:
            return templates["tool_use"]
        return templates.get("default") or next(iter(templates.values()), None)


def of_directory(directory: str) -> Source:
    """Return what a tokenizer's folder says. Raises OSError, InvalidParams for a file that is not what it should be."""
    return _of_directory(directory, _identity(Path(directory)))


class Outline(NamedTuple):
    """What a tokenizer's folder says without the vocabulary's file, which is large.

    ``template``: that for conversations with tools where there are two. ``named_tokens``: such as ``bos_token``.
    ``listed_tokens``: those that are no words; None where only the vocabulary's file has them.
    """

    template: str | None
    named_tokens: dict[str, str]
    listed_tokens: frozenset[str] | None


def outline_of_directory(directory: str) -> Outline:
    """Return what can be said of a tokenizer's folder at once. Raises OSError, InvalidParams as ``of_directory``."""
    folder = Path(directory)
    configuration = _json(folder / CONFIGURATION)
    templates = tuple(_templates(folder, configuration).items())
    added = _added_tokens(configuration)
    return Outline(
        Source(directory, templates, (), frozenset(), frozenset()).template(with_tools=True),
        _named_tokens(folder, configuration),
        frozenset(text for text, _ in added) if added else None,
    )


def of_gguf(path: str) -> Source:
    """Return what a GGUF file says; without templates if it has none. Raises OSError."""
    status = Path(path).stat()
    return _of_gguf(path, (status.st_ino, status.st_size, status.st_mtime_ns))


def _identity(directory: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes when one of the files does."""
    names = (CONFIGURATION, TEMPLATE, _PROCESSOR_TEMPLATE, _TOKENIZER, _OLD_NAMES)
    paths = [*(directory / name for name in names), *_additional(directory)]
    states = [(path, path.stat()) for path in paths if path.is_file()]
    return tuple((str(path), status.st_size, status.st_mtime_ns) for path, status in states)


def _additional(directory: Path) -> list[Path]:
    return sorted((directory / _MORE).glob("*.jinja"))


@lru_cache(maxsize=8)
def _of_gguf(path: str, identity: tuple[int, ...]) -> Source:
    found = gguf.tokenizer(path)
    if found is None:
        return Source(path, (), (), frozenset(), frozenset())
    return Source(
        path,
        tuple(found.templates.items()),
        tuple((_GGUF_NAMES[role], text) for role, text in found.named.items()),
        frozenset(found.control),
        frozenset(found.user_defined),
    )


@lru_cache(maxsize=8)
def _of_directory(directory: str, identity: tuple[tuple[str, int, int], ...]) -> Source:
    folder = Path(directory)
    configuration = _json(folder / CONFIGURATION)
    named = _named_tokens(folder, configuration)
    added = _added_tokens(configuration) or _added_tokens(_json(folder / _TOKENIZER))
    return Source(
        directory,
        tuple(_templates(folder, configuration).items()),
        tuple(named.items()),
        frozenset({*named.values(), *(text for text, special in added if special)} - {""}),
        frozenset({text for text, special in added if not special} - {""}),
    )


def _templates(folder: Path, configuration: JsonObject) -> dict[str, str]:
    templates = _named_templates(_json(folder / _PROCESSOR_TEMPLATE).get("chat_template"), folder)
    templates |= _named_templates(configuration.get("chat_template"), folder)
    if (folder / TEMPLATE).is_file():
        templates["default"] = _text(folder / TEMPLATE)
    return templates | {path.stem: _text(path) for path in _additional(folder)}


def _named_templates(value: Json, folder: Path) -> dict[str, str]:
    """Return the templates of a JSON file: one, a list of named ones, or an object by their names."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        value = {item.get("name"): item.get("template") for item in value}
    if isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair):
        return dict(value)
    raise _wrong(folder / CONFIGURATION, "has a chat_template that is neither a text nor named texts")


def _named_tokens(folder: Path, configuration: JsonObject) -> dict[str, str]:
    return {**_named(_json(folder / _OLD_NAMES)), **_named(configuration)}


def _named(configuration: Mapping[str, Json]) -> dict[str, str]:
    """Return the tokens that a template can name, each as a text or an object with ``content``."""
    found = {}
    for name in _TOKEN_NAMES:
        value = configuration.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            found[name] = text
    return found


def _added_tokens(found: Mapping[str, Json]) -> list[tuple[str, bool]]:
    """Return the tokens beside the vocabulary of words, each with whether it is special."""
    decoder, listed = found.get("added_tokens_decoder"), found.get("added_tokens")
    tokens: Iterable[Json] = ()
    if isinstance(decoder, dict):
        tokens = decoder.values()
    elif isinstance(listed, list):
        tokens = listed
    return [
        (token["content"], bool(token.get("special")))
        for token in tokens
        if isinstance(token, dict) and isinstance(token.get("content"), str)
    ]


def _json(path: Path) -> JsonObject:
    """Return the object in a JSON file; an empty one if there is no file."""
    if not path.is_file():
        return {}
    try:
        value = orjson.loads(_bytes(path))
    except orjson.JSONDecodeError as error:
        raise _wrong(path, f"is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise _wrong(path, "is no JSON object")
    return value


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode()
    except UnicodeDecodeError:
        raise _wrong(path, "is no text in UTF-8") from None


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise _wrong(path, "is larger than any such file")
    return content


def _wrong(path: Path, what: str) -> InvalidParams:
    return InvalidParams(f"tokenizer: {path} {what}; give the folder of the model's tokenizer.", path="$.tokenizer")
