"""The runtime for machines without an NPU: the C interfaces of RKLLM and RKNN over llama.cpp and ONNX Runtime.

It may import ``abi`` and what is below: it stands on the other side of C.
"""
