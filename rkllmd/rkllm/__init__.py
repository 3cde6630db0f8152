"""The RKLLM functions: one module for each, found by its name."""
