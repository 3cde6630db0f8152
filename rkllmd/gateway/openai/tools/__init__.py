"""OpenAI's tools that are functions for a model, and something else for clients.

May import ``rkllmd.gateway.fields`` and ``rkllmd.gateway.run``.
"""
