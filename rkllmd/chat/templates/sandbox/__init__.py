"""Where a model's template runs: Jinja as transformers has it, in which nothing takes long and nothing becomes large.

A template is a program by whoever made the model. It runs in jinja2's sandbox, and pays for what it does out of a
budget: each turn of a loop and each call, each value that is looked at, each character that is written. Only what is
known can be called. It imports jinja2, which is optional: outside, only ``budget.py`` and ``weight.py`` may be imported
before there is a template.
"""
