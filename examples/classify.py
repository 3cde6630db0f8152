"""Classify a picture: resize it, send it by file descriptor, print the best labels and draw them beside the picture.

python examples/classify.py [PICTURE] [--model FILE] [--labels FILE] [--output FILE]

Without a picture it draws a digit, and without a model it uses the demo model of the portable runtime (on a board, give
your .rknn file). It needs Pillow and numpy; preparing the picture is the client's work, as with the C API.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import rkllmd
from rkllmd.client import CallError, Client, why_no_connection
from rkllmd.portable.demo.vision.draw import draw_digit

DEMO = Path(rkllmd.__file__).parent / "portable" / "demo"
_PADDING = (114, 114, 114)  # what detectors are trained with
_SCALE = 6


def letterbox(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Return the picture in this size, with its proportions kept, and with grey bars where it does not fill it."""
    scale = min(width / picture.width, height / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    boxed = Image.new("RGB", (width, height), _PADDING)
    boxed.paste(picture.resize(size, Image.Resampling.BOX), ((width - size[0]) // 2, (height - size[1]) // 2))
    return boxed


def classify(
    rkllm: Client, model: Path, picture: Image.Image, count: int
) -> tuple[Image.Image, list[dict[str, float]]]:
    """Return the picture as the model sees it, and its best classes: index and score."""
    context = rkllm.call("rknn.init", {"model_path": str(model)})["context"]
    shape = rkllm.call("rknn.query", {"context": context, "cmd": "RKNN_QUERY_INPUT_ATTR"})["dims"]
    _, height, width, _ = shape  # NHWC
    seen = letterbox(picture.convert("RGB"), width, height)
    result = rkllm.call("rknn.infer", {"context": context, "inputs": np.asarray(seen), "top_k": count})
    rkllm.call("rknn.destroy", [context])
    return seen, result["outputs"][0]["top"]


def draw(seen: Image.Image, lines: list[str]) -> Image.Image:
    """Return the picture enlarged, with the lines beside it."""
    large = seen.resize((seen.width * _SCALE, seen.height * _SCALE), Image.Resampling.NEAREST)
    sheet = Image.new("RGB", (large.width + 220, large.height), "white")
    sheet.paste(large)
    for number, line in enumerate(lines):
        ImageDraw.Draw(sheet).text((large.width + 12, 12 + 28 * number), line, fill="black", font_size=22)
    return sheet


def main() -> int:
    """Classify what the command line names; return the exit status."""
    parser = argparse.ArgumentParser(description="Classify a picture.")
    parser.add_argument("picture", nargs="?", type=Path)
    parser.add_argument("--model", type=Path, default=DEMO / "digits.onnx")
    parser.add_argument("--labels", type=Path, default=DEMO / "digits.txt")
    parser.add_argument("--output", type=Path, help="save the picture with the labels drawn")
    arguments = parser.parse_args()
    try:
        labels = arguments.labels.read_text().split()
        picture = Image.open(arguments.picture) if arguments.picture else draw_digit(7, seed=1)
    except OSError as error:
        parser.error(str(error))
    try:
        with Client() as rkllm:
            seen, classes = classify(rkllm, arguments.model.absolute(), picture, min(3, len(labels)))
    except OSError as error:
        print(why_no_connection(error), file=sys.stderr)
        return 1
    except CallError as error:
        print(error, file=sys.stderr)
        return 1
    lines = [f"{found['score']:4.0%}  {labels[int(found['index'])]}" for found in classes]
    print("\n".join(lines))
    if arguments.output:
        try:
            draw(seen, lines).save(arguments.output)
        except (OSError, ValueError) as error:
            parser.error(f"--output: {error}")
        print(f"drawn: {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
