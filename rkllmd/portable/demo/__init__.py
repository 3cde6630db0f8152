"""The one-megabyte demo model: its text, its training and its evaluation.

It may import ``portable``; nothing of the daemon imports more of it than where its files are.
"""

from pathlib import Path
from typing import Final

# What a client or the configuration may call it, unless another model is declared by this name.
NAME: Final = "demo"
MODEL: Final = Path(__file__).parent / "demo.gguf"
# What shows it pictures of digits, and how many pixels they have.
ENCODER: Final = MODEL.with_name("digits_encoder.onnx")
PICTURE_SIZE: Final = (48, 48)
# What tells which digit is in a picture of this size.
CLASSIFIER: Final = MODEL.with_name("digits.onnx")
