"""The vision demo: a classifier of drawn digits, and an encoder that shows them to the demo language model.

It may import ``portable``; it needs torch where it trains (``demo/requirements.txt``).
"""
