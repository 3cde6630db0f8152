"""Prompt caches and loaded models: what a cache depends on, and those that the daemon keeps for conversations.

It may import what ``language`` may, and its folders ``chats``, ``out_of_turn`` and ``prompt_caches``.
"""
