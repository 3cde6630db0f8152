"""From messages to the text that a model reads: by its own Jinja template, by markers that were set, or in words.

It reads files, and calls no C. Rendering takes up to 100 ms with a hostile template: not on the event loop.
It imports ``portable`` for GGUF files, and what everybody may use.
"""
