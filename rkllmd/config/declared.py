"""Models that the configuration file declares by name: ``[models.qwen3]`` with all that rkllm.init would be given.

They are checked when the configuration is read, by the JSON Schemas of rkllm.init, rkllm.load_lora and
rkllm.set_chat_template: so a mistake stops the start of the daemon, and is not left for the first client to find.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import field
from functools import cache
from typing import Final

from rkllmd.abi.json import schemas
from rkllmd.config import encoders
from rkllmd.config.encoders import DeclaredEncoder
from rkllmd.config.values import MOST_MINUTES, WrongMember
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject
from rkllmd.quick_dataclass import dataclass

# The keys of a declared model that are not fields of RKLLMParam.
_OURS: Final = (
    "lora_adapters",
    "chat_template",
    "tokenizer",
    "autoload",
    "idle_minutes",
    "coalesce",
    "pooling",
    "swap",
    "vision",
    "dialect",
)
POOLING: Final = ("mean", "cls", "last")
TEMPLATE_STRINGS: Final = ("system_prompt", "prompt_prefix", "prompt_postfix")
# Those of chat/answers/dialect.py.
DIALECTS: Final = (
    "hermes",
    "qwen3_coder",
    "llama",
    "mistral",
    "deepseek",
    "gemma",
    "phi",
    "minicpm",
    "internlm",
    "harmony",
)
# A name stands where a path may stand, so it has no slash and does not begin with a dot.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """One declared model. ``param`` has the fields of RKLLMParam as JSON has them."""

    name: str
    param: JsonObject
    # Each as rkllm.load_lora takes it.
    lora_adapters: tuple[JsonObject, ...] = ()
    chat_template: dict[str, str] | None = None
    # The folder of its tokenizer, in which its own chat template is.
    tokenizer: str | None = None
    autoload: bool = False
    # None: as the setting model_idle_minutes says.
    idle_minutes: float | None = None
    # None: as the setting coalesce says.
    coalesce: bool | None = None
    # How it writes reasoning and calls, one of DIALECTS; None: as its chat template says.
    dialect: str | None = None
    # What shows it pictures.
    vision: DeclaredEncoder | None = None
    # Whether it may take the place of others, which then sleep.
    swap: bool = False
    # How its hidden states become one embedding; None: as its file says.
    pooling: str | None = None
    path: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.param["model_path"])

    def describe(self) -> JsonObject:
        """Return what clients are told of it."""
        vision = None if self.vision is None else self.vision.describe()
        return {"name": self.name, "model_path": self.path, "swap": self.swap, "vision": vision}

    def merged(self, given: Mapping[str, Json]) -> JsonObject:
        """Return the model's fields; those that the client gives beside the name replace them."""
        merged = {**self.param, **given, "model_path": self.path}
        extend = given.get("extend_param")
        if isinstance(extend, Mapping):
            merged["extend_param"] = {**self.param.get("extend_param", {}), **extend}
        return merged


def is_name(model_path: str) -> bool:
    """Return whether ``model_path`` is the name of a declared model: paths are absolute, and names have no slash."""
    return "/" not in model_path


def parse(value: object) -> tuple[DeclaredModel, ...]:
    """Return the models of the table ``models``, in the file's order. Raises ValueError, WrongMember."""
    if value == ():  # the default
        return ()
    if not isinstance(value, Mapping) or not all(isinstance(item, Mapping) for item in value.values()):
        raise ValueError("a table for each model: [models.NAME]")
    return tuple(_model(name, dict(table)) for name, table in value.items())


def _model(name: str, table: JsonObject) -> DeclaredModel:
    if not _NAME.fullmatch(name):
        raise WrongMember(f"models has the name {name[:64]!r}, allowed are letters, digits, '.', '_' and '-', up to 64")
    where = f"models.{name}"
    try:
        schemas.check(_schema(), table, where)
    except InvalidParams as error:
        said = error.message.removesuffix(".")
        found = _at(table, str(error.data["path"]).removeprefix(where))
        raise WrongMember(said if isinstance(found, Mapping) else f"{said}, it is {str(found)[:200]!r}") from None
    for key in ("model_path", "tokenizer_path", "embedding_path", "tokenizer"):
        _check_path(table.get(key), f"{where}.{key}")
    _check_path(table.get("vision", {}).get("model_path"), f"{where}.vision.model_path")
    adapters = tuple(
        {"lora_adapter_path": item} if isinstance(item, str) else dict(item) for item in table.get("lora_adapters", ())
    )
    for index, adapter in enumerate(adapters):
        _check_path(adapter["lora_adapter_path"], f"{where}.lora_adapters[{index}]")
    _check_finite(table, where)
    return DeclaredModel(
        name=name,
        param={key: item for key, item in table.items() if key not in _OURS},
        lora_adapters=adapters,
        chat_template=table.get("chat_template"),
        tokenizer=table.get("tokenizer"),
        autoload=table.get("autoload", False),
        idle_minutes=table.get("idle_minutes"),
        coalesce=table.get("coalesce"),
        dialect=table.get("dialect"),
        vision=encoders.parse(table.get("vision")),
        swap=table.get("swap", False),
        pooling=table.get("pooling"),
    )


@cache
def _schema() -> schemas.Schema:
    """Return the JSON Schema of a declared model."""
    param = schemas.struct_schema("RKLLMParam")
    adapter = {**schemas.struct_schema("RKLLMLoraAdapter"), "type": ["string", "object"]}
    template = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in TEMPLATE_STRINGS},
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            **param["properties"],
            "lora_adapters": {"type": "array", "items": adapter},
            "chat_template": template,
            "tokenizer": {"type": "string"},
            "autoload": {"type": "boolean"},
            "coalesce": {"type": "boolean"},
            "dialect": {"enum": [*DIALECTS]},
            "swap": {"type": "boolean"},
            "pooling": {"enum": list(POOLING)},
            "idle_minutes": {"type": "number", "minimum": 0, "maximum": MOST_MINUTES},
            "vision": encoders.SCHEMA,
        },
        "required": ["model_path"],
        "additionalProperties": False,
    }


def _check_path(value: str | None, where: str) -> None:
    if value is not None and not value.startswith("/"):
        raise WrongMember(f"{where} is {value[:200]!r}, allowed is an absolute path")


def _check_finite(value: object, where: str) -> None:
    """Refuse nan and inf, which JSON does not have, and a NUL, which would end a C string early."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_finite(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_finite(item, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise WrongMember(f"{where} is {value}, allowed is a finite number")
    elif isinstance(value, str) and "\0" in value:
        raise WrongMember(f"{where} has a NUL character, which a C string can't have")


def _at(table: Json, path: str) -> Json:
    """Return what stands at a path such as ``.extend_param.n_batch`` or ``.lora_adapters[0]``."""
    for step in re.findall(r"[^.\[\]]+", path):
        table = table[int(step)] if isinstance(table, list) else table[step]
    return table
