"""How the demo language model is trained and written as GGUF.

It may import ``demo/text``; it needs torch (``demo/requirements.txt``).
"""
