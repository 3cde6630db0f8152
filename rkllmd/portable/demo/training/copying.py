"""Exercises in copying: random tokens that occur twice.

They come first, to settle the heads that induction.py puts in, and now and then between the chats, so that the heads
stay what they are.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

TOKENS = 3072
FIRST_TOKEN = 3  # after the control tokens


@dataclass(frozen=True)
class Batch:
    """Texts of one length, side by side."""

    tokens: Tensor
    rows: Tensor  # positions after which a learned token comes
    targets: Tensor


def copy_batches(count: int, vocabulary: int, seed: int) -> list[Batch]:
    """Return batches of: some tokens, others, the first ones again; the second time is to be learned."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        length, gap = rng.randint(4, 24), rng.randint(0, rng.choice([24, 160]))
        size = TOKENS // (2 * length + gap)
        drawn = torch.randint(FIRST_TOKEN, vocabulary, (size, length + gap), generator=generator)
        tokens = torch.cat((drawn, drawn[:, :length]), 1)
        rows = torch.zeros(size, tokens.shape[1] - 1, dtype=torch.bool)
        rows[:, length + gap :] = True  # the first of them cannot be foreseen
        made.append(Batch(tokens[:, :-1], rows, tokens[:, 1:][rows]))
    return made
