"""What Ollama's answers have in common: errors, times, and how models are described."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Final

from rkllmd.gateway import models
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import Fields
from rkllmd.gateway.models import ServedModel
from rkllmd.json_types import Json, JsonObject

# The version of Ollama whose protocol this is: clients ask for it to learn what they may send. /v1/messages is there
# from this one on; Codex wants 0.13.4 for /v1/responses.
VERSION: Final = "0.14.0"
# Nobody knows when a file was made, nor until when a model stays.
_UNKNOWN_PAST: Final = "1970-01-01T00:00:00Z"
_UNKNOWN_FUTURE: Final = "2318-01-01T00:00:00Z"
# The daemon has the real one, in another language. Editors look for ``.Suffix`` before they offer to complete code.
_TEMPLATE: Final = "{{ .Messages }}"
_TEMPLATE_OF_GAPS: Final = "{{ if .Suffix }}{{ .Prompt }}{{ .Suffix }}{{ else }}{{ .Messages }}{{ end }}"


def error_body(failure: Failure) -> JsonObject:
    """Return a failure as Ollama has it."""
    begins = "" if failure.excess is None else "the input length exceeds the context length: "
    return {"error": begins + failure.message}


def now() -> str:
    """Return the time as Ollama writes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def tags(status: JsonObject) -> JsonObject:
    """Return the models that there are, loaded or not, for ``server.status``."""
    return {"models": [_entry(item) for item in models.listed(status)]}


def running(status: JsonObject) -> JsonObject:
    """Return the models that are loaded."""
    return {
        "models": [
            {
                **_entry(item),
                "expires_at": _UNKNOWN_FUTURE,
                "size_vram": item.size_bytes,
                "context_length": item.context_length or 0,
            }
            for item in models.served(status)
            if item.is_loaded
        ]
    }


def shown(status: JsonObject, body: Json) -> JsonObject:
    """Return what /api/show answers to a request. Raises WrongField, Failure."""
    fields = Fields(body)
    names = [fields.text(name) for name in ("model", "name")]
    fields.without_effect(("verbose", "system", "template", "options"))
    fields.end()
    model = models.choose(status, next(filter(None, names), None))
    info: JsonObject = {"general.architecture": "rkllm", "general.basename": model.name}
    if model.context_length is not None:
        info["rkllm.context_length"] = model.context_length
    return {
        "modelfile": "",
        "parameters": "",
        "template": _TEMPLATE_OF_GAPS if model.infills else _TEMPLATE,
        "details": _details(),
        "model_info": info,
        "capabilities": model.capabilities,
        "modified_at": _UNKNOWN_PAST,
    }


def _entry(model: ServedModel) -> JsonObject:
    digest = hashlib.sha256(f"{model.name} {model.size_bytes}".encode()).hexdigest()
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": _UNKNOWN_PAST,
        "size": model.size_bytes,
        "digest": digest,
        "details": _details(),
    }


def _details() -> JsonObject:
    return {
        "parent_model": "",
        "format": "rkllm",
        "family": "rkllm",
        "families": ["rkllm"],
        "parameter_size": "",
        "quantization_level": "",
    }
