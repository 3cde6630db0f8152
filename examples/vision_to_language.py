"""Show a picture to the language model: an RKNN model encodes it, the language model reads it as part of the question.

python examples/vision_to_language.py [PICTURE] [--question "Which digit is this? <image>"]

The encoder writes its output into a tensor memory of the daemon, and the question names that memory: the embedding
never leaves the daemon. Needs Pillow and numpy, and a daemon with the demo model (rkllmd serve --model demo).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import rkllmd
from rkllmd.client import CallError, Client, why_no_connection
from rkllmd.portable.demo.vision.draw import draw_digit

ENCODER = Path(rkllmd.__file__).parent / "portable" / "demo" / "digits_encoder.onnx"


def embed(rkllm: Client, encoder: Path, picture: Image.Image) -> tuple[int, list[int]]:
    """Encode the picture; return the tensor memory that holds the embedding, and its shape."""
    context = rkllm.call("rknn.init", {"model_path": str(encoder)})["context"]
    _, height, width, _ = rkllm.call("rknn.query", [context, "RKNN_QUERY_INPUT_ATTR"])["dims"]
    output = rkllm.call("rknn.query", [context, "RKNN_QUERY_OUTPUT_ATTR"])
    memory = rkllm.call("rknn.create_mem", [context, 4 * output["n_elems"]])["mem"]
    pixels = np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.BOX))
    rkllm.call("rknn.run", {"context": context, "input_data": pixels})
    rkllm.call("rknn.outputs_get", [context, [{"want_float": 1, "is_prealloc": 1, "buf": {"mem": memory}}]])
    return memory, output["dims"]


def ask(rkllm: Client, question: str, memory: int, shape: list[int]) -> None:
    """Ask the language model about the picture in ``memory`` and print its answer as it comes."""
    images, tokens, width = shape
    multimodal = {
        "prompt": question,
        "image_embed": {"mem": memory, "size": 4 * images * tokens * width, "dtype": "float32", "shape": shape},
    }
    for partial in rkllm.stream("rkllm.run_async", {"multimodal_input": multimodal}):
        print(partial["text"], end="", flush=True)
    print()


def main() -> int:
    """Ask about what the command line names; return the exit status."""
    parser = argparse.ArgumentParser(description="Show a picture to the language model.")
    parser.add_argument("picture", nargs="?", type=Path, help="a picture of a digit; without it, a 3 is drawn")
    question = "Which digit is this? <image>"
    parser.add_argument("--question", default=question, help="with <image> where the picture goes")
    arguments = parser.parse_args()
    try:
        picture = Image.open(arguments.picture) if arguments.picture else draw_digit(3, seed=1)
    except OSError as error:
        parser.error(str(error))
    try:
        with Client() as rkllm:
            memory, shape = embed(rkllm, ENCODER, picture)
            print(f"> {arguments.question}")
            ask(rkllm, arguments.question, memory, shape)
    except OSError as error:
        print(why_no_connection(error), file=sys.stderr)
        return 1
    except CallError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
