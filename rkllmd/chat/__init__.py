"""What a chat is in text: how messages become a prompt, and what the model means by its answer.

Without I/O and without C. It may import errors, json_types and ``config``.
"""
