"""The settings themselves: defaults, names, and what a reload takes over."""

from __future__ import annotations

from dataclasses import fields

from rkllmd.config.settings import Config, environment_name
from rkllmd.config.sources import load


def test_defaults() -> None:
    assert load({}, {}) == Config()


def test_every_default_is_a_value_that_may_be_set() -> None:
    for item in fields(Config):
        default = getattr(Config(), item.name)
        assert item.metadata["parse"](default) == default, item.name
        assert item.metadata["help"], item.name


def test_every_setting_has_its_own_environment_variable() -> None:
    names = [environment_name(item.name) for item in fields(Config)]
    assert len(set(names)) == len(names)
    assert environment_name("socket") == "RKLLM_UDS_PATH"
    assert environment_name("rkllm_library") == "RKLLM_LIB_PATH"
    assert environment_name("max_queue") == "RKLLM_MAX_QUEUE"


def test_what_a_reload_takes_over() -> None:
    running = Config(max_queue=1, socket="/a", log_level=0)
    fresh = Config(max_queue=2, socket="/b", log_level=3, model="/m")
    reloaded = running.reloaded(fresh)
    assert (reloaded.max_queue, reloaded.log_level) == (2, 3)
    assert (reloaded.socket, reloaded.model) == ("/a", "")


def test_clients_write_into_no_directory_that_all_users_share() -> None:
    """In such a one anybody makes links and files for the daemon's user to write through."""
    assert Config().writable_directories == ("/var/lib/rkllmd", "/var/cache/rkllmd")
