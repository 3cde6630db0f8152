"""The C interface: mirrors of the structs, the libraries and their versions, and JSON to C and back.

It may import ``wire`` and the errors; ctypes stays in here and in ``portable``, ``c`` offers what others need of it.
"""
