"""The settings by their subjects: each with its default and the reason for it, its limits, and a line of help.

``reload`` marks those that SIGHUP takes over without a restart. ``Config`` (``config/settings.py``) is made of them
all. They may import what reads values (``config/values.py``), and what is below ``config``.
"""
