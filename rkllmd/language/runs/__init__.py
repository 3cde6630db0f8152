"""One run of a language model: its check, its turn of a session, the prompt cache that it saves, its final result.

It may import what ``language`` may, and all other folders of ``language``, which do not import it.
"""
