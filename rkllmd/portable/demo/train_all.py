"""``python -m rkllmd.portable.demo.train_all``: make demo.gguf and demo-lora.gguf anew.

Needs what requirements.txt beside this file names, and takes about half an hour on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from rkllmd.portable.demo.text.corpus import corpus, revision
from rkllmd.portable.demo.text.tokenizer import train_tokenizer
from rkllmd.portable.demo.training.export import export_lora, export_model
from rkllmd.portable.demo.training.induction import initial_model
from rkllmd.portable.demo.training.lora import ALPHA, train_lora
from rkllmd.portable.demo.training.model import Shape
from rkllmd.portable.demo.training.train import Plan, batches, train

TOKENIZER_CHATS = 20_000
PLAN = Plan(steps=2_200, copy_steps=80)
REVISION_CHATS = 16_000
REVISION = Plan(steps=600, matrix_rate=4e-3, other_rate=1e-3, warm_up=20)
# The weights are averaged: what the revision teaches stays, and what it makes the model forget comes back.
AFTER = 0.7
THREADS = 1  # a model as small as this gains little from more, and loses much on a machine that is not idle


def main(folder: Path) -> None:
    """Train the model and its adapter and write both files into the folder."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    chats = corpus()
    tokenizer = train_tokenizer(chats[:TOKENIZER_CHATS])
    model = initial_model(Shape())
    sys.stdout.write(f"{sum(parameter.numel() for parameter in model.parameters())} weights\n")
    train(model, batches(tokenizer, chats, PLAN), PLAN)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(model, batches(tokenizer, revision(REVISION_CHATS), REVISION), REVISION)
    weights = {name: torch.lerp(before[name], tensor, AFTER) for name, tensor in model.state_dict().items()}
    model.load_state_dict(weights)
    export_model(folder / "demo.gguf", model.shape, weights, tokenizer)
    export_lora(folder / "demo-lora.gguf", ALPHA, train_lora(model, tokenizer))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
