"""The runtime for machines without an NPU: the C interfaces of RKLLM and RKNN over llama.cpp and ONNX Runtime."""
