"""Conversations: their messages, how these become text, and how much of that the KV cache has already.

It may import what ``language`` may, and nothing of the other folders in it. Nothing here calls C.
"""
