"""The NPU's one worker thread: order, cancellation, exceptions, and that nobody is forgotten."""
