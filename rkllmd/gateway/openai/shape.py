"""What all of OpenAI's answers have in common: errors, and how tokens are counted."""

from __future__ import annotations

from typing import Final

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.models import ServedModel
from rkllmd.gateway.run import cached_tokens, generated_tokens, prompt_tokens
from rkllmd.json_types import Json, JsonObject

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "unavailable_error",
}
_REASONS: Final = {"length": "length", "timeout": "length", "tool_calls": "tool_calls"}
# How llama.cpp's server says that an answer may be as long as the model likes, and LM Studio's clients ask for it.
NO_LIMIT: Final = -1
_CODES: Final = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def error_body(failure: Failure) -> JsonObject:
    """Return a failure as OpenAI has it; ``code`` is the daemon's kind where OpenAI has none of its own."""
    is_model = failure.param == "model"
    code = _CODES.get(failure.status) if failure.status != 404 or is_model else None
    message = failure.message
    if failure.excess is not None:
        code = "context_length_exceeded"
        message = f"This model's maximum context length is {failure.excess.most} tokens. {message}"
    return {
        "error": {
            "message": message,
            "type": _TYPES.get(failure.status, "server_error"),
            "param": failure.param,
            "code": code or failure.kind,
        }
    }


def finish_reason(result: JsonObject) -> str:
    """Return why an answer has ended, as OpenAI says it."""
    return _REASONS.get(result.get("finish_reason", ""), "stop")


def usage(result: JsonObject) -> JsonObject:
    """Return how many tokens a run took: all of the conversation, and of those what was not read anew."""
    return counted(prompt_tokens(result), generated_tokens(result), cached_tokens(result))


def counted(prompt: int, made: int, cached: int) -> JsonObject:
    """Return numbers of tokens as OpenAI has them; ``cached`` of those of the prompt were not read anew."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": made,
        "total_tokens": prompt + made,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def timings(result: JsonObject) -> JsonObject | None:
    """Return how long a run took, as llama.cpp's server has it; None where the runtime does not say it."""
    perf = result.get("perf")
    if not perf:
        return None
    read, made = perf["prefill_tokens"], perf["generate_tokens"]
    read_ms, made_ms = perf["prefill_time_ms"], perf["generate_time_ms"]
    return {
        "cache_n": cached_tokens(result),
        "prompt_n": read,
        "prompt_ms": read_ms,
        "prompt_per_second": _speed(read, read_ms),
        "predicted_n": made,
        "predicted_ms": made_ms,
        "predicted_per_second": _speed(made, made_ms),
    }


def with_timings(answer: JsonObject, result: JsonObject) -> JsonObject:
    """Return an answer with how long its run took, where the runtime says it."""
    times = timings(result)
    return answer if times is None else {**answer, "timings": times}


def _speed(tokens: int, milliseconds: float) -> float:
    return round(tokens * 1000 / milliseconds, 3) if milliseconds > 0 else 0.0


def model_list(models: list[ServedModel]) -> JsonObject:
    """Return the models as OpenAI has them, with what llama.cpp's and vLLM's servers add, and Anthropic's clients read.

    All are on one page.
    """
    names: list[Json] = [item.name for item in models]
    ends = {"first_id": names[0], "last_id": names[-1]} if names else {"first_id": None, "last_id": None}
    return {"object": "list", "data": [model_entry(item) for item in models], "has_more": False, **ends}


def model_entry(model: ServedModel) -> JsonObject:
    """Return one model; it was created in 1970, since nobody knows when a file was made."""
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "rkllmd",
        "type": "model",
        "display_name": model.name,
        "created_at": "1970-01-01T00:00:00Z",
        "max_model_len": model.context_length,
        "meta": {"n_ctx": model.context_length, "n_ctx_train": model.trained_length, "size": model.size_bytes},
        "architecture": {
            "input_modalities": ["text"] if model.vision is None else ["text", "image"],
            "output_modalities": ["text"],
        },
        "capabilities": model.capabilities,
        "status": {"value": model.state},
    }


def props(status: JsonObject, model: ServedModel, whole: JsonObject | None) -> JsonObject:
    """Return what /props of llama.cpp's server says of a model; ``whole``: ``server.model``, None without a handle."""
    known = whole or {}
    params: JsonObject = {**(known.get("sampling_params") or {}), "n_predict": known.get("max_new_tokens") or NO_LIMIT}
    return {
        "model_alias": model.name,
        "model_path": model.name,
        "default_generation_settings": {"n_ctx": model.context_length, "params": params if known else {}},
        # This many runs of a model go on at once.
        "total_slots": model.n_batch,
        "modalities": {"vision": model.vision is not None, "audio": False},
        "chat_template": known.get("template") or "",
        # What a template has no place for, the daemon tells the model in words.
        "chat_template_caps": {
            "supports_system_role": True,
            "supports_string_content": True,
            "supports_tools": True,
            "supports_tool_calls": True,
            "supports_parallel_tool_calls": True,
            "supports_preserve_reasoning": model.thinks is not False,
            "supports_enable_thinking": model.thinks is not False,
        },
        "bos_token": known.get("bos_token") or "",
        "eos_token": known.get("eos_token") or "",
        "is_sleeping": not model.is_loaded,
        "build_info": f"rkllmd {status['versions']['daemon']}",
    }
