"""What each tool takes, and how a host's arguments become a request for the daemon. Without I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rkllmd.gateway.embeddings.protocol import WantedVectors, take_texts
from rkllmd.gateway.fields import Fields, WrongField
from rkllmd.gateway.openai import chat_request
from rkllmd.gateway.pictures.given import Picture, of_base64, of_url
from rkllmd.gateway.run import Wanted
from rkllmd.json_types import Json, JsonObject

_MOST_LABELS: Final = 100
_USUAL_LABELS: Final = 5
_MODEL: Final[JsonObject] = {"type": "string", "description": "Which model; may be left out where there is one only."}
_PICTURE: Final[JsonObject] = {"type": "string", "description": "A picture: a data URL, or its file in base64."}
# Fields of chat completions: what they mean is said there (docs/gateway.md).
_LIMITS: Final[JsonObject] = {
    "model": _MODEL,
    "max_tokens": {"type": "integer", "minimum": 1, "description": "After this many tokens the answer ends."},
    "temperature": {"type": "number", "minimum": 0, "description": "0: always the likeliest token."},
    "seed": {"type": "integer"},
    "stop": {"type": "array", "items": {"type": "string"}, "description": "Texts at which the answer ends."},
    "reasoning_effort": {"enum": ["none", "low", "medium", "high"], "description": "Whether it thinks before."},
    "response_format": {
        "type": "object",
        "description": 'The form of the answer: {"type": "json_schema", "json_schema": {"schema": {…}}}.',
    },
}


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool, as hosts are told it; ``schema`` is that of its arguments."""

    name: str
    title: str
    description: str
    schema: JsonObject


@dataclass(frozen=True, slots=True)
class Classifier:
    """An RKNN model that tells what is in a picture, and the names of its classes in their order."""

    path: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WantedClasses:
    """What is asked about a picture: the ``count`` likeliest classes."""

    classifier: Classifier
    picture: Picture
    count: int


def offered(classifiers: Mapping[str, Classifier]) -> list[Tool]:
    """Return the tools; pictures can be classified where there are ``classifiers``."""
    found = [
        Tool(
            "generate",
            "Generate text",
            "Let the language model of this board answer one prompt, perhaps about a picture.",
            _object(
                {
                    "prompt": {"type": "string"},
                    "system": {"type": "string", "description": "What the model is told before."},
                    "image": _PICTURE,
                    **_LIMITS,
                },
                ["prompt"],
            ),
        ),
        Tool(
            "chat",
            "Chat",
            "Let the language model of this board go on with a conversation. What it has read is not read again.",
            _object(
                {
                    "messages": {
                        "type": "array",
                        "items": {"type": "object"},
                        "minItems": 1,
                        "description": "As in OpenAI's chat completions: role and content.",
                    },
                    "tools": {"type": "array", "items": {"type": "object"}, "description": "Functions it may call."},
                    **_LIMITS,
                },
                ["messages"],
            ),
        ),
    ]
    found.append(
        Tool(
            "embed",
            "Embed texts",
            "Make a vector of length 1 of each text; texts of like meaning have like vectors.",
            _object(
                {"texts": {"type": "array", "items": {"type": "string"}, "minItems": 1}, "model": _MODEL}, ["texts"]
            ),
        )
    )
    if classifiers:
        names = list(classifiers)
        schema: JsonObject = {
            "image": _PICTURE,
            "classifier": {"enum": names, "description": f"Which one; {names[0]} if it is left out."},
            "count": {"type": "integer", "minimum": 1, "maximum": _MOST_LABELS, "description": "How many classes."},
        }
        description = "Tell what is in a picture, with how sure that is."
        found.append(Tool("classify", "Classify a picture", description, _object(schema, ["image"])))
    return found


def read_generate(arguments: JsonObject) -> Wanted:
    """Return the run that ``generate`` asks for. Raises WrongField."""
    fields = Fields(arguments)
    prompt = fields.needed("prompt", "give the text that the model is to answer.")
    system, picture = fields.text("system"), fields.text("image")
    content: Json = prompt
    if picture is not None:
        content = [_picture(picture, "image").part(), {"type": "text", "text": prompt}]
    said: list[JsonObject] = [{"role": "system", "content": system}] if system else []
    return _one_answer(chat_request.for_messages(fields, [*said, {"role": "user", "content": content}]))


def read_chat(arguments: JsonObject) -> Wanted:
    """Return the run that ``chat`` asks for. Raises WrongField."""
    return _one_answer(chat_request.read(arguments))


def _one_answer(wanted: Wanted) -> Wanted:
    """Return a run whose answer a tool's result has a place for. Raises WrongField for others."""
    if wanted.choices > 1:
        raise WrongField("n", "n can only be 1 here: call the tool for each answer.")
    if "logprobs" in wanted.params:
        raise WrongField("logprobs", "logprobs can't be told here: leave it out.")
    return wanted


def read_embed(arguments: JsonObject) -> WantedVectors:
    """Return the vectors that ``embed`` asks for. Raises WrongField."""
    fields = Fields(arguments)
    wanted = WantedVectors(fields.text("model"), take_texts(fields, "texts"), names=fields.names)
    fields.end()
    return wanted


def read_classify(arguments: JsonObject, classifiers: Mapping[str, Classifier]) -> WantedClasses:
    """Return what ``classify`` asks for. Raises WrongField."""
    fields = Fields(arguments)
    picture = fields.needed("image", "give a picture as a data URL, or in base64.")
    name = fields.choice("classifier", list(classifiers)) or next(iter(classifiers))
    count = fields.integer("count", 1) or _USUAL_LABELS
    fields.end()
    return WantedClasses(classifiers[name], _picture(picture, "image"), min(count, _MOST_LABELS))


def classes(top: Sequence[JsonObject], labels: Sequence[str]) -> list[Json]:
    """Return the classes that ``top_k`` has found, by their names where these are known."""
    return [
        {
            "index": item["index"],
            "label": labels[item["index"]] if item["index"] < len(labels) else str(item["index"]),
            "score": item["score"],
        }
        for item in top
    ]


def _picture(given: str, where: str) -> Picture:
    return of_url(given, where) if ":" in given else of_base64(given, where)


def _object(properties: JsonObject, required: list[str]) -> JsonObject:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
