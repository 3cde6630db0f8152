"""Tests of ``rkllmd/chat/templates``; ``published`` has templates that use what those of published models use."""

import os

# transformers would say at its first import that it has no PyTorch.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
