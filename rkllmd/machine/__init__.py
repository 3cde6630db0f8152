"""What this machine is and has: SoC, memory, files, what the runtimes print, systemd.

It may import ``config``, ``abi`` and ``wire``; it knows neither the queue nor a call.
"""
