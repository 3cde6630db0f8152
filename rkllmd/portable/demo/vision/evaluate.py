"""``python -m rkllmd.portable.demo.vision.evaluate``: what both models get right, in figures.

The classifier and the encoder run in ONNX Runtime, the demo language model in the portable runtime, greedily.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

from rkllmd.abi.layouts.rkllm_1_3_1 import RKLLMInput, RKLLMMultiModalInput
from rkllmd.abi.layouts.rkllm_common import RKLLMInputType
from rkllmd.portable import build
from rkllmd.portable.demo.evaluate import PICTURE_QUESTIONS
from rkllmd.portable.demo.text.held_out import ABOUT_PICTURES
from rkllmd.portable.demo.text.pictures import shown
from rkllmd.portable.demo.vision.draw import SIZE, draw_digit
from rkllmd.portable.driver import GREEDY, Driver

FOLDER = Path(__file__).parents[1]
PICTURES = 20_000
FIRST_SEED = 1_000_000  # nobody looked at the pictures from here on while draw.py was written
# Each form with the picture first and then last; "{a} {b}" are the numbers in the order of the sum.
SUMS = (
    "What is {a} plus {b}?",
    "What is {a} + {b}?",
    "How much is {a} plus {b}?",
    "Add {a} and {b}.",
    "{a} + {b}",
)
DIFFERENCES = ("What is {a} minus {b}?", "What is {a} - {b}?")
TAG = "<image>"

Bytes: TypeAlias = npt.NDArray[np.int8]
Floats: TypeAlias = npt.NDArray[np.float32]


def quantised(picture: Image.Image) -> Bytes:
    """Return a picture of any size as the graphs take it: int8, one colour after the other."""
    pixels = np.asarray(picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX), np.int16)
    return (pixels - 128).astype(np.int8).transpose(2, 0, 1)[np.newaxis]


class Vision:
    """Both models, loaded."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._classifier, self._encoder = (
            onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
            for name in ("digits.onnx", "digits_encoder.onnx")
        )

    def scores(self, picture: Image.Image) -> Bytes:
        """Return the ten scores, int8."""
        scores: Bytes = self._classifier.run(None, {"image": quantised(picture)})[0][0]
        return scores

    def digit(self, picture: Image.Image) -> int:
        """Return the digit in the picture."""
        return int(self.scores(picture).argmax())

    def embedding(self, picture: Image.Image) -> Floats:
        """Return the picture as the language model reads it: float32 (1, tokens, width)."""
        embedding: Floats = self._encoder.run(None, {"image": quantised(picture)})[0]
        return embedding


def seen(prompt: str, *embeddings: Floats) -> RKLLMInput:
    """Return an input with one picture for each tag of the prompt."""
    made = RKLLMInput(input_type=RKLLMInputType.RKLLM_INPUT_MULTIMODAL)
    made.multimodal_input = RKLLMMultiModalInput(prompt=prompt.encode())
    values = np.concatenate(embeddings).ravel()
    image = made.multimodal_input.image
    image.image_embed = (ctypes.c_float * values.size)(*values.tolist())
    image.n_image, image.n_image_tokens = len(embeddings), embeddings[0].shape[1]
    image.image_width = image.image_height = SIZE
    return made


def accuracy(vision: Vision, count: int, plain: bool) -> float:
    """Return the share of fresh pictures that the classifier gets right."""
    seeds = range(FIRST_SEED, FIRST_SEED + count)
    return sum(vision.digit(draw_digit(seed % 10, seed=seed, plain=plain)) == seed % 10 for seed in seeds) / count


def sums(form: str) -> Iterator[tuple[int, int, bool, str]]:
    """Yield every sum or difference of the form that has a digit in it: digit, other, digit first, answer."""
    for digit in range(10):
        for other in range(21):
            for first in (True, False):
                a, b = (digit, other) if first else (other, digit)
                if form in SUMS:
                    yield digit, other, first, f"{a} + {b} = {a + b}."
                elif a >= b:
                    yield digit, other, first, f"{a} - {b} = {a - b}."


def _show(vision: Vision, driver: Driver, form: str) -> None:
    """Ask every sum of one form in words, with a plain picture and with any, and print how many are right."""
    total, in_words, right, lost = 0, 0, {True: 0, False: 0}, []
    for digit, other, first, answer in sums(form):
        total += 1
        words = form.format(a=digit, b=other) if first else form.format(a=other, b=digit)
        prompt = form.format(a=TAG, b=other) if first else form.format(a=other, b=TAG)
        said = driver.run(words).text
        in_words += said == answer
        for plain in right:
            picture = draw_digit(digit, seed=FIRST_SEED + total, plain=plain)
            said_of_picture = driver.run(seen(prompt, vision.embedding(picture))).text
            right[plain] += said_of_picture == answer
            if said == answer != said_of_picture:
                lost.append(f"{prompt} with a {digit}, taken for a {vision.digit(picture)} -> {said_of_picture}")
    sys.stdout.write(
        f"{form}: of {total} in words {in_words}, with a plain picture {right[True]}, with any {right[False]}\n"
    )
    sys.stdout.writelines(f"    {line}\n" for line in lost)


def _show_readings(vision: Vision, driver: Driver) -> None:
    """Ask which digit is in a picture, in many words, and print how many are right."""
    forms, wrong = (*PICTURE_QUESTIONS, *ABOUT_PICTURES), []
    for number, form in enumerate(forms):
        for digit in range(10):
            picture = draw_digit(digit, seed=FIRST_SEED + 10 * number + digit)
            said = driver.run(seen(form.format(TAG), vision.embedding(picture))).text
            if said != shown(digit):
                wrong.append(f"{form.format(TAG)} with a {digit}, taken for a {vision.digit(picture)} -> {said}")
    total = 10 * len(forms)
    sys.stdout.write(f"Which digit is this? {total - len(wrong)}/{total}\n")
    sys.stdout.writelines(f"    {line}\n" for line in wrong)


def _show_pairs(vision: Vision, driver: Driver, form: str) -> None:
    """Ask the sums of two pictures."""
    wrong = []
    for a in range(10):
        for b in range(10):
            pictures = [draw_digit(digit, seed=FIRST_SEED + 100 * a + b) for digit in (a, b)]
            said = driver.run(seen(form.format(a=TAG, b=TAG), *map(vision.embedding, pictures))).text
            if said != f"{a} + {b} = {a + b}.":
                wrong.append(f"{a} and {b}, taken for {' and '.join(str(vision.digit(p)) for p in pictures)} -> {said}")
    sys.stdout.write(f"{form}, two pictures: {100 - len(wrong)}/100\n")
    sys.stdout.writelines(f"    {line}\n" for line in wrong)


def main(folder: Path) -> None:
    """Print the figures."""
    vision = Vision(folder)
    for plain in (False, True):
        kind = "plain" if plain else "of all kinds"
        sys.stdout.write(f"{PICTURES} pictures, {kind}: {100 * accuracy(vision, PICTURES, plain):.2f} %\n")
    with Driver(build.build(), FOLDER / "demo.gguf", max_context_len=1024, **GREEDY) as driver:
        for form in (*SUMS, *DIFFERENCES):
            _show(vision, driver, form)
        _show_pairs(vision, driver, SUMS[0])
        _show_readings(vision, driver)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
