"""The portable RKLLM runtime, in C++."""
