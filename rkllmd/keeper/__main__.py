"""What a process becomes that is a daemon's keeper: ``python -I -S …/keeper/__main__.py TIES COMMAND…``."""

import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from rkllmd.keeper.keeper import Keeper
from rkllmd.keeper.spawn import Child


def main() -> int:
    """Keep the daemon that is running already; return the exit status."""
    numbers = [int(number) for number in sys.argv[1].split(",")]
    for descriptor in numbers[1:]:
        os.set_inheritable(descriptor, False)
    try:
        with open("/proc/self/comm", "w") as file:
            file.write("rkllmd-keeper")
    except OSError:  # only a name
        pass
    return Keeper(Child(*numbers), sys.argv[2:], dict(os.environ)).run()


if __name__ == "__main__":
    sys.exit(main())
