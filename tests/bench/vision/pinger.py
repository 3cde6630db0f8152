"""A client of its own process that asks for nothing much, over and over, and reports how long each answer took.

``python pinger.py SOCKET``: pings until its stdin ends, then prints the nanoseconds of each answer in one line.
"""

from __future__ import annotations

import select
import socket
import sys
import time

LINE = b'{"jsonrpc":"2.0","id":1,"method":"rkllm.get_constants"}\n'
# Often enough to meet whatever holds the daemon for longer than this, and light enough not to be the load itself.
PAUSE_SECONDS = 0.0005


def _main(path: str) -> None:
    took = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(LINE)
        connection.recv(65_536)
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
            started = time.perf_counter_ns()
            connection.sendall(LINE)
            connection.recv(65_536)
            took.append(time.perf_counter_ns() - started)
    print(*took, flush=True)


if __name__ == "__main__":
    _main(sys.argv[1])
