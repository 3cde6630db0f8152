"""The configuration in force: SIGHUP replaces it, and everybody who holds this object sees the new one."""

from __future__ import annotations

from rkllmd.config.settings import Config


class CurrentConfig:
    """A place for the one ``Config`` in force."""

    def __init__(self, config: Config) -> None:
        self.config = config
