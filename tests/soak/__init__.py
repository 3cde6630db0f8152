"""The soak: everything that clients do, with faults, for hours; ``make soak HOURS=1``.

It fails where a request is not answered exactly once, where one client hears another's words, and where memory,
descriptors, threads, files or latencies grow.
"""
