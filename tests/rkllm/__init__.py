"""The RKLLM functions over the socket, each in a file of its own."""
