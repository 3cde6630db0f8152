"""How a run's words become the text that C is given: by which template, and what stands between turns.

It imports ``language/chats`` and, for GGUF files, ``portable``; nothing of the other modules of ``runs``.
"""
