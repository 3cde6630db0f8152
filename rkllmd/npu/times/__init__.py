"""How long calls have taken, and how long those that run and wait are expected to take.

It may import ``job`` and ``turns`` of ``npu``, and decides nothing.
"""
