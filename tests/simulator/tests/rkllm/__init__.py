"""The simulator of RKLLM does what README.md says, in each layout."""
