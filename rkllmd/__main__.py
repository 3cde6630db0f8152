"""``python -m rkllmd`` and the ``rkllmd`` command."""

from __future__ import annotations

import os
import sys

from rkllmd.cli import run


def main() -> None:
    """Run the command line and leave with its status."""
    _open_standard_descriptors()
    sys.exit(run(sys.argv[1:]))


def _open_standard_descriptors() -> None:
    """Open what is closed of descriptors 0 to 2, to nothing.

    Otherwise the next file or socket that is opened has that number, and what the runtimes print would go there.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:  # as Python has it where the descriptor was closed
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


if __name__ == "__main__":
    main()
