"""What the demo language model learns: its words, its chats, and how they become tokens.

It may import nothing of the project outside this folder.
"""
