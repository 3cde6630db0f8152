"""Trains the demo model: fixed seeds and a fixed number of steps, so that the same machine makes the same file."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from rkllmd.portable.demo.text.corpus import Chat
from rkllmd.portable.demo.text.tokenizer import encode
from rkllmd.portable.demo.training.copying import Batch, copy_batches
from rkllmd.portable.demo.training.model import Model
from rkllmd.portable.demo.training.muon import Muon


@dataclass(frozen=True)
class Plan:
    """How to train."""

    steps: int
    batch_tokens: int = 3072
    longest: int = 512
    matrix_rate: float = 1e-2
    other_rate: float = 2e-3
    warm_up: int = 40
    copy_steps: int = 0  # exercises in copying, before all else
    copy_again: int = 25  # and one more after this many other batches
    seed: int = 7


def batches(tokenizer: Tokenizer, chats: list[Chat], plan: Plan) -> list[Batch]:
    """Return all chats once, in random order, after the exercises in copying.

    Chats of one batch have nearly the same length, so that little is spent on padding, and each stands alone, so that
    none can look into another, as it would in a packed window.
    """
    encoded = [encode(tokenizer, chat) for chat in chats]
    groups: list[list[tuple[list[int], list[bool]]]] = []
    for begin in range(0, len(encoded), 1000):
        group: list[tuple[list[int], list[bool]]] = []
        for ids, learned in sorted(encoded[begin : begin + 1000], key=lambda item: len(item[0])):
            item = (ids[: plan.longest], learned[: plan.longest])
            if (len(group) + 1) * len(item[0]) > plan.batch_tokens:
                groups.append(group)
                group = []
            group.append(item)
        groups.append(group)
    random.Random(plan.seed).shuffle(groups)
    made = [_pad(group) for group in groups]
    if plan.copy_steps == 0:
        return made
    copies = copy_batches(plan.copy_steps + len(made) // plan.copy_again, tokenizer.get_vocab_size(), plan.seed)
    for again, batch in enumerate(copies[plan.copy_steps :], 1):
        made.insert(again * (plan.copy_again + 1) - 1, batch)
    return copies[: plan.copy_steps] + made


def _pad(group: list[tuple[list[int], list[bool]]]) -> Batch:
    longest = max(len(ids) for ids, _ in group)
    tokens = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in group])
    learned = torch.tensor([learned + [False] * (longest - len(learned)) for _, learned in group])
    rows = learned[:, 1:]
    return Batch(tokens[:, :-1], rows, tokens[:, 1:][rows])


def optimizers(model: nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, which learns about twice as fast as AdamW, and AdamW for the rest."""
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    matrices = [parameter for name, parameter in trained if parameter.dim() == 2 and "token_embd" not in name]
    others = [parameter for name, parameter in trained if parameter.dim() != 2 or "token_embd" in name]
    made: list[torch.optim.Optimizer] = [Muon(matrices, plan.matrix_rate)]
    if others:
        made.append(torch.optim.AdamW(others, lr=plan.other_rate, betas=(0.9, 0.95), weight_decay=0.0))
    return made


def train(model: Model, data: list[Batch], plan: Plan) -> float:
    """Run the plan's steps and return the smoothed loss of the last ones."""
    torch.manual_seed(plan.seed)
    steppers = optimizers(model, plan)
    peaks = [group["lr"] for stepper in steppers for group in stepper.param_groups]
    smoothed, started, tokens = 0.0, time.monotonic(), 0
    for step, batch in zip(range(plan.steps), _repeat(data), strict=False):
        scale = min(1.0, (step + 1) / plan.warm_up) * (1.0 - 0.99 * step / plan.steps)
        groups = [group for stepper in steppers for group in stepper.param_groups]
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * scale
        loss = functional.cross_entropy(model(batch.tokens, rows=batch.rows), batch.targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad()
        smoothed = loss.item() if step == 0 else 0.98 * smoothed + 0.02 * loss.item()
        tokens += batch.tokens.numel()
        if step % 50 == 49:
            seconds = time.monotonic() - started
            sys.stdout.write(
                f"step {step + 1}/{plan.steps} loss {smoothed:.4f} {tokens / seconds:.0f} tokens/s {seconds:.0f} s\n"
            )
            sys.stdout.flush()
    return smoothed


def _repeat(data: list[Batch]) -> Iterator[Batch]:
    while True:
        yield from data
