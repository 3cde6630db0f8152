"""The portable RKLLM runtime in C++ over llama.cpp: ``functions`` is the C interface, the rest what stands behind it.

``model`` is a loaded file, ``prompt`` what becomes of a text, ``run`` how tokens are made; nothing here imports Python.
"""
