"""An ONNX model behind a context: its file, its session with ONNX Runtime, its runs and what they took.

It may import ``tensors`` and the modules directly in ``portable/rknn``.
"""
