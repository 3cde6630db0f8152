"""``python -m rkllmd.portable.demo.train_all [--revise [STEPS]] [folder]``: make demo.gguf and demo-lora.gguf anew.

Needs what requirements.txt beside this file names, and takes about half an hour on one core. With ``--revise`` it
starts from the demo.gguf in the folder and does only the revision, which takes a quarter of that: for what the text has
gained since. The embeddings stay as they are then, so that the vision encoder, which has copied them, remains true.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from rkllmd.portable.demo.text.corpus import corpus, revision
from rkllmd.portable.demo.text.tokenizer import train_tokenizer
from rkllmd.portable.demo.training.export import export_lora, export_model
from rkllmd.portable.demo.training.induction import initial_model
from rkllmd.portable.demo.training.load import load_model
from rkllmd.portable.demo.training.lora import ALPHA, train_lora
from rkllmd.portable.demo.training.model import Model, Shape
from rkllmd.portable.demo.training.train import Plan, batches, train

TOKENIZER_CHATS = 20_000
PLAN = Plan(steps=2_200, copy_steps=80)
REVISION_CHATS = 16_000
REVISION = Plan(steps=600, matrix_rate=4e-3, other_rate=1e-3, warm_up=20)
# The weights are averaged: what the revision teaches stays, and what it makes the model forget comes back.
AFTER = 0.7
THREADS = 1  # a model as small as this gains little from more, and loses much on a machine that is not idle


def taught() -> tuple[Model, Tokenizer]:
    """Return a model that has learned the corpus, and its tokenizer."""
    chats = corpus()
    tokenizer = train_tokenizer(chats[:TOKENIZER_CHATS])
    model = initial_model(Shape())
    train(model, batches(tokenizer, chats, PLAN), PLAN)
    return model, tokenizer


def shipped(folder: Path) -> tuple[Model, Tokenizer]:
    """Return the model that lies in the folder, its embeddings frozen, and its tokenizer."""
    model, tokenizer = load_model(folder / "demo.gguf", Shape())
    model.token_embd.requires_grad_(False)
    return model, tokenizer


def main(folder: Path, revise: int | None) -> None:
    """Train the model and its adapter and write both files into the folder."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    model, tokenizer = taught() if revise is None else shipped(folder)
    sys.stdout.write(f"{sum(parameter.numel() for parameter in model.parameters())} weights\n")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plan = REVISION if revise is None else replace(REVISION, steps=revise)
    train(model, batches(tokenizer, revision(REVISION_CHATS), plan), plan)
    weights = {name: torch.lerp(before[name], tensor, AFTER) for name, tensor in model.state_dict().items()}
    model.load_state_dict(weights)
    export_model(folder / "demo.gguf", model.shape, weights, tokenizer)
    export_lora(folder / "demo-lora.gguf", ALPHA, train_lora(model, tokenizer))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the demo language model and its adapter.")
    revise = "start from the model in the folder, and revise it this many steps long (600)"
    parser.add_argument("--revise", nargs="?", type=int, const=REVISION.steps, metavar="STEPS", help=revise)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent, help="where the files are")
    given = parser.parse_args()
    main(given.folder, given.revise)
