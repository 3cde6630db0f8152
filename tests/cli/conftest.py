"""The daemon that commands only ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemon import Daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Return a daemon with a model, which the tests of ``call`` only ask."""
    with Daemon(tmp_path_factory.mktemp("daemon")) as found:
        found.load()
        yield found
