"""Users of one daemon: a connection's user is that of the process that connects, so only root can be several."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.daemon import Daemon
from tests.wire_connection import Wire

# Uids that no machine gives to anybody.
ANNA, BERTA = 65534, 65533
Connect = Callable[[Daemon, int], Wire]
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
