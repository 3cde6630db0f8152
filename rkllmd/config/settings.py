"""All settings in one object. Each has its default, its reason and its limits in a module of ``config/groups``.

How they are put together from the file, the environment and the command line is in ``config/sources.py``.
"""

from __future__ import annotations

import os
from dataclasses import Field, fields, replace
from functools import cache

from rkllmd.config.groups.calls import CallSettings
from rkllmd.config.groups.clients import ClientSettings
from rkllmd.config.groups.deadlines import DeadlineSettings
from rkllmd.config.groups.files import FileSettings
from rkllmd.config.groups.models import ModelSettings
from rkllmd.config.groups.process import ProcessSettings
from rkllmd.config.groups.runtime import RuntimeSettings
from rkllmd.quick_dataclass import dataclass


@dataclass(frozen=True)
class Config(
    FileSettings, DeadlineSettings, CallSettings, ClientSettings, ModelSettings, RuntimeSettings, ProcessSettings
):
    """The settings in force; their order, in which the help lists them, begins with the last of the bases."""

    def is_operator(self, user: int | None) -> bool:
        """Return whether a user looks after this daemon; None is nobody that the kernel knows."""
        return user is not None and (user in (0, os.geteuid()) or user in self.operator_users)

    def reloaded(self, fresh: Config) -> Config:
        """Return this configuration with the settings of ``fresh`` that may change while running."""
        changed = {item.name: getattr(fresh, item.name) for item in fields(self) if item.metadata["reload"]}
        return replace(self, **changed)


def settable_outside() -> list[Field[object]]:
    """Return the settings that the environment and the command line may give: those that are one plain value."""
    return [item for item in fields(Config) if not item.metadata["only_in_file"]]


@cache
def _environment_names() -> dict[str, str]:
    return {item.name: item.metadata["env"] or f"RKLLM_{item.name.upper()}" for item in fields(Config)}


def environment_name(setting: str) -> str:
    """Return the environment variable of a setting."""
    return _environment_names()[setting]
