"""Turns of conversations: what is asked, how the model is told what came before, what is kept of the run.

A turn is of ``messages``, or of a session (the member "session" beside "method"). Both are messages for the model, and
what of them it has to read is decided in one place (``chats/reuse.py``). A session is a conversation whose messages the
daemon keeps, so that a client need not send them. It may import what ``runs`` may; ``inference`` imports it.
"""
