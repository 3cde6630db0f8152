"""What is kept of conversations while others have the model: in memory, and in files with a note of what is in each.

It may import ``chats`` and ``prompt_caches`` of ``language``, and knows no model.
"""
