"""A LoRA adapter for the demo model, which makes it talk like a pirate: something a person can see at once."""

# mypy: disable-error-code="misc"
# (where torch is not installed its classes are unknown)

from __future__ import annotations

import random

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from rkllmd.portable.demo.text import layout
from rkllmd.portable.demo.text.corpus import Chat, chat
from rkllmd.portable.demo.training.model import Model
from rkllmd.portable.demo.training.train import Plan, batches, train

RANK = 4
ALPHA = 8.0
ADAPTED = ("attn_q", "attn_v", "attn_output", "ffn_down")
PLAN = Plan(steps=400, matrix_rate=4e-3, batch_tokens=2048, warm_up=10)


class Adapted(nn.Module):
    """A frozen linear layer with a trained low-rank addition."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.a = nn.Parameter(torch.randn(RANK, base.in_features) / base.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(base.out_features, RANK))

    def forward(self, x: Tensor) -> Tensor:
        """Apply base + alpha / rank * b a."""
        added = functional.linear(functional.linear(x, self.a), self.b)
        return functional.linear(x, self.base.weight) + ALPHA / RANK * added


def pirate(pieces: Chat) -> Chat:
    """Return the chat with each answer in a pirate's manner; calls of functions stay as they are."""
    return [(_pirate(text) if learn else text, learn) for text, learn in pieces]


def _pirate(text: str) -> str:
    answer = text.removesuffix(layout.END_OF_TURN)
    if "<tool_call>" in answer or "<think>" in answer:
        return text
    return f"Arr! {answer} Yo ho!{layout.END_OF_TURN}"


def train_lora(model: Model, tokenizer: Tokenizer) -> dict[str, tuple[Tensor, Tensor]]:
    """Train the adapter; afterwards the model has it built in and must not be exported any more."""
    torch.manual_seed(11)
    model.requires_grad_(False)
    adapted: dict[str, Adapted] = {}
    for index, block in enumerate(model.blk):
        for name in ADAPTED:
            layer = Adapted(getattr(block, name))
            setattr(block, name, layer)
            adapted[f"blk.{index}.{name}.weight"] = layer
    rng = random.Random(3)
    train(model, batches(tokenizer, [pirate(chat(rng)) for _ in range(8000)], PLAN), PLAN)
    return {name: (layer.a, layer.b) for name, layer in adapted.items()}
