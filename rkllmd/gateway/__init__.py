"""The gateway: what people's clients speak over HTTP, as calls of the daemon's socket (docs/gateway.md).

A process of its own that is a client like any other: it holds no model and no state, and may be killed at any time.
``openai/``, ``ollama/`` and ``anthropic/`` translate, without I/O; ``web/`` does HTTP. It may import the client and
what is below, and nothing of the daemon.
"""
