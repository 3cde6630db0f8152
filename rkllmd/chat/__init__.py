"""What a chat is in text: how messages become a prompt, and what the model means by its answer.

Without C, and it waits for nothing. It may import ``config``, ``portable`` and what everybody may use.
"""
