"""Pictures, video and audio in messages: a multimodal input for C, with a placeholder in the text for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rkllmd.abi.json.convert import to_c
from rkllmd.abi.layouts.rkllm import RKLLMInputType
from rkllmd.errors import InvalidParams
from rkllmd.language import placeholders
from rkllmd.language.chats.messages import Medium, Message
from rkllmd.language.chats.text import Text
from rkllmd.language.runs.rendering import pictures

if TYPE_CHECKING:
    from rkllmd.abi.layouts.rkllm import Layout
    from rkllmd.language.model import Model
    from rkllmd.language.runs.run import Run

# Each takes hundreds of tokens of a context.
_MOST_PICTURES: Final = 16


def check(model: Model, messages: Sequence[Message]) -> None:
    """Refuse more media than one input of C takes: one of each kind in the conversation, of pictures several.

    Raises InvalidParams, NotSupported.
    """
    seen: dict[str, list[Medium]] = {}
    for medium in (medium for message in messages for medium in message.media):
        if pictures.is_picture(medium):
            pictures.check(model, medium)
        before = seen.setdefault(medium.kind, [])
        are_pictures = all(map(pictures.is_picture, [*before, medium]))
        if before and (not are_pictures or len(before) == _MOST_PICTURES):
            most = _MOST_PICTURES if are_pictures else 1
            raise InvalidParams(
                f"{medium.path}: a conversation has {most} {medium.kind}{'s' if most > 1 else ''} at most, since the "
                "runtimes take one block of embeddings of a kind with each prompt.",
                path=medium.path,
                keyword="maxItems",
                limit=most,
            )
        before.append(medium)


def in_place(
    text: Text, messages: Sequence[Message], layout: Layout, *, is_bare: bool, tags: Sequence[str] = ()
) -> Text:
    """Return the text with a placeholder for each of the media in ``messages``, and with no others.

    ``is_bare``: it was rendered by the model's own template, which has put them there and made words of others.
    ``tags`` are those of the model's encoder, which C puts around pictures itself.
    """
    media = [medium for message in messages for medium in message.media]

    def changed(part: str) -> str:
        for tag in tags:
            part = part.replace(tag, f"{tag[:1]} {tag[1:]}")
        if is_bare and media:
            return part
        part = placeholders.as_plain_words(part, layout)
        for medium in media:
            part = part.replace(medium.mark, f"<{medium.kind}>")
        return part

    return text.changed(changed)


def give(run: Run, prompt: bytes, messages: Sequence[Message], keep: list[object]) -> None:
    """Make the prompt and the media of ``messages`` the run's input; on the worker thread.

    ``keep`` gets what C may read. Raises InvalidParams, NotSupported, and what a tensor that can't be read raises.
    """
    library, asked = run.model.library, run.only_input
    media = [medium for message in messages for medium in message.media]
    given = {"prompt": prompt.decode(), **{medium.kind: medium.given for medium in media}}
    shown = [medium for medium in media if pictures.is_picture(medium)]
    encoder = run.model.vision
    if shown and encoder is not None:
        given["image"] = pictures.fields_of(run, encoder, shown)
    made = to_c(
        given,
        library.layout["RKLLMMultiModalInput"],
        media[0].path.rpartition(".")[0],
        keep,
        runtime=library.runtime,
        sources=run.sources,
        embedding_width=run.model.embedding_width,
    )
    for medium in media:
        part = getattr(made, medium.kind, made)  # 1.2 has images only, and no struct for them
        items = getattr(part, f"n_{medium.kind}")
        if items != 1 and medium not in shown:
            raise InvalidParams(
                f"{medium.path}: one part of a message is one {medium.kind}, not {items}.",
                path=medium.path,
                keyword="maxItems",
                limit=1,
            )
    asked.input_type, asked.multimodal_input = int(RKLLMInputType.RKLLM_INPUT_MULTIMODAL), made
