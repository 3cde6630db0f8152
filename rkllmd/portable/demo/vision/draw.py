"""Draws digits as people write them, and now and then as they are printed, each different from all others.

``draw_digit(7)`` is a new picture every time, ``draw_digit(7, seed=3)`` the same one. Needs Pillow, nothing else.
"""

from __future__ import annotations

import math
import random

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from rkllmd.portable.demo.vision.strokes import WAYS, Point, Stroke, curve

SIZE = 48  # width and height of a picture, as the models take it
_FINE = 3  # drawn this many times as large and then reduced, for soft edges
_CANVAS = SIZE * _FINE
_JITTER = 0.03  # of the digit's box: how far a hand misses
# Width by height. A wide one and a narrow seven would be the same drawing.
_PROPORTIONS = {1: (0.4, 0.65), 7: (0.58, 0.85)}
_FONT_SHARE = 0.2
_LEAST_CONTRAST = 70  # of 255
Colour = tuple[int, int, int]


def draw_digit(digit: int, seed: int | None = None, *, plain: bool = False) -> Image.Image:
    """Return an RGB picture of a digit; ``plain``: dark, with a thick brush, on white.

    The models were trained on seeds below zero: all others are pictures that they have never seen.
    """
    rng = random.Random() if seed is None else random.Random(f"{digit} {seed} {plain}")
    if plain:
        mask = _handwritten(digit, rng, brush=rng.uniform(0.07, 0.15), turn=0.15)
        shade = rng.randint(0, 60)
        return Image.composite(_flat((shade, shade, shade)), _flat((255, 255, 255)), mask)
    mask = _printed(digit, rng) if rng.random() < _FONT_SHARE else _handwritten(digit, rng, rng.uniform(0.035, 0.14))
    paper, ink = _colours(rng)
    picture = Image.composite(_flat(ink), _background(paper, ink, rng), mask)
    if rng.random() < 0.25:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.6:
        picture = Image.blend(picture, _noise(rng), rng.uniform(0.03, 0.2))
    return picture


def _flat(colour: Colour) -> Image.Image:
    return Image.new("RGB", (SIZE, SIZE), colour)


def _noise(rng: random.Random) -> Image.Image:
    return Image.frombytes("RGB", (SIZE, SIZE), rng.randbytes(3 * SIZE * SIZE))


def _luminance(colour: Colour) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def _colour(rng: random.Random) -> Colour:
    if rng.random() < 0.4:
        shade = rng.randint(0, 255)
        return shade, shade, shade
    return rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)


def _colours(rng: random.Random) -> tuple[Colour, Colour]:
    """Return two colours that can be told apart."""
    while True:
        paper, ink = _colour(rng), _colour(rng)
        if abs(_luminance(paper) - _luminance(ink)) >= _LEAST_CONTRAST:
            return paper, ink


def _background(paper: Colour, ink: Colour, rng: random.Random) -> Image.Image:
    """Return paper: plain, shaded across, ruled or stained, always nearer to its own colour than to the ink's."""
    picture = _flat(paper)
    kind = rng.random()
    other = tuple(round(own + rng.uniform(-0.35, 0.35) * (drawn - own)) for own, drawn in zip(paper, ink, strict=True))
    other = (max(0, min(255, other[0])), max(0, min(255, other[1])), max(0, min(255, other[2])))
    if kind < 0.5:
        return picture
    if kind < 0.75:
        shade = Image.linear_gradient("L").rotate(rng.uniform(0, 360), fillcolor=128).resize((SIZE, SIZE))
        return Image.composite(_flat(other), picture, shade)
    draw = ImageDraw.Draw(picture)
    if kind < 0.88:
        distance, first, upright = rng.randint(6, 16), rng.randint(0, 8), rng.random() < 0.5
        for at in range(first, SIZE, distance):
            draw.line([(at, 0), (at, SIZE)] if upright else [(0, at), (SIZE, at)], fill=other)
        return picture
    for _ in range(rng.randint(1, 4)):
        x, y, radius = rng.uniform(0, SIZE), rng.uniform(0, SIZE), rng.uniform(1, 8)
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=other)
    return picture


def _handwritten(digit: int, rng: random.Random, brush: float, turn: float = 0.3) -> Image.Image:
    """Return where there is ink; ``brush`` is its width as a share of the picture, ``turn`` the most in radians."""
    height = rng.uniform(0.45, 0.92)
    width = height * rng.uniform(*_PROPORTIONS.get(digit, (0.45, 0.85)))
    brush = min(brush, 0.2 * height)
    angle, shear = rng.uniform(-turn, turn), rng.uniform(-turn, turn)
    strokes = [curve(_jittered(stroke, rng)) for stroke in rng.choice(WAYS[digit])]

    def placed(point: Point) -> Point:
        x, y = (point[0] - 0.5) * width - shear * (point[1] - 0.5) * height, (point[1] - 0.5) * height
        return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)

    strokes = [[placed(point) for point in stroke] for stroke in strokes]
    points = [point for stroke in strokes for point in stroke]
    shift_x, shift_y = (_shift([point[axis] for point in points], brush, rng) for axis in (0, 1))
    mask = Image.new("L", (_CANVAS, _CANVAS))
    draw = ImageDraw.Draw(mask)
    radius = brush * _CANVAS / 2
    for stroke in strokes:
        line = [((x + shift_x) * _CANVAS, (y + shift_y) * _CANVAS) for x, y in stroke]
        draw.line(line, fill=255, width=max(1, round(2 * radius)), joint="curve")
        for x, y in (line[0], line[-1]):
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)
    return mask.reduce(_FINE)


def _jittered(stroke: Stroke, rng: random.Random) -> Stroke:
    """Return the points as a hand hits them; the two that make a corner stay together."""
    made: Stroke = []
    for number, (x, y) in enumerate(stroke):
        if number and stroke[number - 1] == (x, y):
            made.append(made[-1])
        else:
            made.append((x + rng.gauss(0, _JITTER), y + rng.gauss(0, _JITTER)))
    return made


def _shift(places: list[float], brush: float, rng: random.Random) -> float:
    """Return how far to move what lies in these places, so that all of it is in the picture."""
    low, high = brush / 2 - min(places), 1 - brush / 2 - max(places)
    return rng.uniform(low, high) if low < high else (low + high) / 2


def _printed(digit: int, rng: random.Random) -> Image.Image:
    """Return where there is ink, in Pillow's own typeface."""
    text = str(digit)
    font = ImageFont.load_default(rng.uniform(0.55, 1.05) * _CANVAS)
    mask = Image.new("L", (_CANVAS, _CANVAS))
    draw = ImageDraw.Draw(mask)
    bold = rng.choice([0, 0, 2, 4, 6])
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font, stroke_width=bold)
    centre = _CANVAS / 2
    draw.text((centre - (left + right) / 2, centre - (top + bottom) / 2), text, 255, font, stroke_width=bold)
    angle, shear = rng.uniform(-0.25, 0.25), rng.uniform(-0.25, 0.25)
    room = max(0.0, (_CANVAS - (bottom - top) * 1.15) / 2)
    x, y = rng.uniform(-room, room), rng.uniform(-room, room)
    # The matrix leads from places in the new picture to places in the old one.
    a, b = math.cos(angle) + shear * math.sin(angle), -math.sin(angle) + shear * math.cos(angle)
    c, d = math.sin(angle), math.cos(angle)
    matrix = (a, b, centre - a * (centre + x) - b * (centre + y), c, d, centre - c * (centre + x) - d * (centre + y))
    turned = mask.transform(mask.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return turned.reduce(_FINE)
