"""Which address is what, and what stands before all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from rkllmd.gateway import models
from rkllmd.gateway.access import Access
from rkllmd.gateway.anthropic import shape as anthropic_shape
from rkllmd.gateway.anthropic.messages import MESSAGES
from rkllmd.gateway.anthropic.request import read_counted
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.ollama import shape as ollama_shape
from rkllmd.gateway.ollama.embedding import EMBED
from rkllmd.gateway.ollama.embedding import EMBEDDINGS as OLLAMA_EMBEDDINGS
from rkllmd.gateway.ollama.run_answer import CHAT as OLLAMA_CHAT
from rkllmd.gateway.ollama.run_answer import GENERATE
from rkllmd.gateway.openai import shape
from rkllmd.gateway.openai.chat import CHAT
from rkllmd.gateway.openai.completion import COMPLETION
from rkllmd.gateway.openai.embedding import EMBEDDINGS
from rkllmd.gateway.openai.responses import RESPONSES
from rkllmd.gateway.run import Wanted
from rkllmd.gateway.upstream.connection import Connection
from rkllmd.gateway.upstream.run import Run
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.web.answers import answer_json
from rkllmd.gateway.web.calls import CallEndpoint
from rkllmd.gateway.web.entrance.addresses import PlainAddresses
from rkllmd.gateway.web.entrance.guard import Guard, error_body
from rkllmd.gateway.web.entrance.pages import for_pages
from rkllmd.gateway.web.home import Home
from rkllmd.gateway.web.models.administration import Administration
from rkllmd.gateway.web.models.vectors import vector_endpoint
from rkllmd.gateway.web.questions import Questions
from rkllmd.gateway.web.relay import RelayEndpoint
from rkllmd.gateway.web.runs import RunEndpoint
from rkllmd.gateway.web.websocket import WebSocketEndpoint
from rkllmd.json_types import JsonObject

_KINDS: Final = {404: "NotFound", 405: "MethodNotAllowed"}


def application(upstream: Upstream, access: Access) -> ASGIApp:
    """Return the gateway as an ASGI application."""
    questions = Questions(upstream)
    routes = [
        Route("/health", questions.health),
        Route("/ready", questions.ready),
        Route("/metrics", questions.metrics),
        Route("/rpc", RelayEndpoint(upstream), methods=["POST"]),
        WebSocketRoute("/ws", WebSocketEndpoint(upstream)),
        Route("/status/{job}", questions.job),
        *_openai(upstream, questions),
        *_ollama(upstream, questions),
        *_anthropic(upstream),
    ]
    middleware = [Middleware(PlainAddresses), Middleware(Guard, access=access)]
    handlers = {HTTPException: _http_error, Exception: _fault}
    return for_pages(Starlette(routes=routes, middleware=middleware, exception_handlers=handlers), access.origins)


def _openai(upstream: Upstream, questions: Questions) -> Iterable[Route]:
    models_listed = questions.endpoint("server.status", lambda status: shape.model_list(models.listed(status)))
    administration = Administration(upstream)
    for prefix in ("/v1", ""):
        yield Route(f"{prefix}/chat/completions", RunEndpoint(upstream, CHAT), methods=["POST"])
        yield Route(f"{prefix}/completions", RunEndpoint(upstream, COMPLETION), methods=["POST"])
        yield Route(f"{prefix}/responses", RunEndpoint(upstream, RESPONSES), methods=["POST"])
        yield Route(f"{prefix}/embeddings", vector_endpoint(upstream, EMBEDDINGS), methods=["POST"])
        yield Route(f"{prefix}/models", models_listed)
        yield Route(f"{prefix}/models/load", administration.load, methods=["POST"])
        yield Route(f"{prefix}/models/unload", administration.unload, methods=["POST"])
        yield Route(f"{prefix}/models/{{name:path}}", questions.model)
        yield Route(f"{prefix}/props", administration.props)


def _ollama(upstream: Upstream, questions: Questions) -> Iterable[Route]:
    error = ollama_shape.error_body
    yield Route("/", Home().answer)
    yield Route("/api/version", _version)
    yield Route("/api/tags", questions.endpoint("server.status", ollama_shape.tags, error))
    yield Route("/api/ps", questions.endpoint("server.status", ollama_shape.running, error))
    yield Route("/api/show", questions.show, methods=["POST"])
    yield Route("/api/chat", RunEndpoint(upstream, OLLAMA_CHAT), methods=["POST"])
    yield Route("/api/generate", RunEndpoint(upstream, GENERATE), methods=["POST"])
    yield Route("/api/embed", vector_endpoint(upstream, EMBED), methods=["POST"])
    yield Route("/api/embeddings", vector_endpoint(upstream, OLLAMA_EMBEDDINGS), methods=["POST"])


def _anthropic(upstream: Upstream) -> Iterable[Route]:
    async def counted(connection: Connection, wanted: Wanted) -> JsonObject:
        _, result = await Run(upstream, connection, wanted, "server.count_tokens").whole()
        return {"input_tokens": result["tokens"]}

    count = CallEndpoint(upstream, read_counted, counted, anthropic_shape.error_body)
    for prefix in ("/v1", ""):
        yield Route(f"{prefix}/messages", RunEndpoint(upstream, MESSAGES), methods=["POST"])
        yield Route(f"{prefix}/messages/count_tokens", count, methods=["POST"])


async def _version(request: Request) -> Response:
    return answer_json({"version": ollama_shape.VERSION})


async def _http_error(request: Request, error: Exception) -> Response:
    """Return what Starlette refuses itself: an address or a method that is not served."""
    assert isinstance(error, HTTPException)
    kind = _KINDS.get(error.status_code, "RequestError")
    # The method alone is wrong where there are others.
    served = {name.lower(): value for name, value in (error.headers or {}).items()}.get("allow", "")
    instead = f": send {' or '.join(sorted(served.split(', ')))}" if served else ""
    failure = Failure(error.status_code, kind, f"{request.method} {request.url.path} is not served here{instead}.")
    shown = error_body(request.url.path, failure)
    return answer_json(shown, error.status_code, {**(error.headers or {}), **failure.headers})


async def _fault(request: Request, error: Exception) -> Response:
    """Return what a client is told of a mistake in the gateway itself; the server writes down what it was."""
    print(f"rkllmd gateway: {request.method} {request.url.path!r} has failed:", file=sys.stderr, flush=True)
    failure = Failure(500, "InternalError", "The gateway has made a mistake, which its log describes.")
    return answer_json(error_body(request.url.path, failure), failure.status, failure.headers)
