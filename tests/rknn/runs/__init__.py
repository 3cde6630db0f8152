"""Runs of RKNN models: those that do not block, those that never end, and both libraries on one NPU."""
