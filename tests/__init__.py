"""The tests; they mirror the house."""

import os

# A machine may be set up so that Python keeps no bytecode. Then each daemon that a test or the bench starts would
# compile all its modules, which takes longer than the rest of its start. An installation has compiled them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
