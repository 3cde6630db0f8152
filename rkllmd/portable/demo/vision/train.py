"""``python -m rkllmd.portable.demo.vision.train``: make digits.onnx and digits_encoder.onnx anew.

Needs what ../requirements.txt names, and takes a few minutes.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from rkllmd.portable.demo.vision.draw import SIZE, draw_digit
from rkllmd.portable.demo.vision.export import export_classifier, export_encoder
from rkllmd.portable.demo.vision.network import DIGITS, Network

PICTURES = 80_000
PLAIN_EVERY = 5  # one in this many is a dark digit on white, as people would draw it to try the model
EPOCHS = 12
BATCH = 128
RATE = 3e-3
WORKERS = 2
THREADS = 2
SEED = 1
DEMO = Path(__file__).parents[1]


def _picture(number: int) -> bytes:
    """Draw one of the training pictures; their seeds are below zero."""
    return draw_digit(number % DIGITS, seed=-1 - number, plain=number // DIGITS % PLAIN_EVERY == 0).tobytes()


def pictures(count: int) -> tuple[Tensor, Tensor]:
    """Return this many pictures (count, 3, size, size) of bytes, and the digits in them."""
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        drawn = b"".join(pool.imap(_picture, range(count), chunksize=500))
    pixels = torch.frombuffer(bytearray(drawn), dtype=torch.uint8).view(count, SIZE, SIZE, 3)
    return pixels.permute(0, 3, 1, 2).contiguous(), torch.arange(count) % DIGITS


def train(pixels: Tensor, digits: Tensor) -> Network:
    """Train a network, with AdamW and a rate that rises once and falls once."""
    torch.manual_seed(SEED)
    network = Network()
    network.to(memory_format=torch.channels_last)  # trains a third faster
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.02)
    steps = len(digits) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * steps)
    started = time.monotonic()
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for chosen in torch.randperm(len(digits))[: steps * BATCH].view(steps, BATCH):
            # Colours exchanged and inverted at random are new pictures for nothing.
            batch = pixels[chosen][:, torch.randperm(3)].float()
            batch = torch.where(torch.rand(BATCH, 1, 1, 1) < 0.5, batch, 255 - batch)
            batch = batch.contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(network(batch), digits[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        sys.stdout.write(f"epoch {epoch}/{EPOCHS} loss {total / steps:.4f} {time.monotonic() - started:.0f} s\n")
        sys.stdout.flush()
    network.eval()
    return network


def main(folder: Path) -> None:
    """Draw, train and write both models into the folder."""
    torch.set_num_threads(THREADS)
    started = time.monotonic()
    pixels, digits = pictures(PICTURES)
    sys.stdout.write(f"{PICTURES} pictures drawn in {time.monotonic() - started:.0f} s\n")
    network = train(pixels, digits)
    export_classifier(folder / "digits.onnx", network)
    export_encoder(folder / "digits_encoder.onnx", network, DEMO / "demo.gguf")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEMO)
