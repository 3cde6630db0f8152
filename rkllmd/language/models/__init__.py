"""Language models: what one is made from, whether there is a place for it, how it is loaded, unloaded and put to sleep.

It may import what ``language`` may, ``sessions`` and ``prompt_caches`` in it, and not ``runs``.
"""
