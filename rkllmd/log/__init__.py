"""The daemon's own log: how events become lines, and lines reach whoever reads them.

Logging waits for nobody: neither for a reader that has stopped nor for a full disk. It may import ``keeper.words``,
which writes without waiting as well.
"""
