"""``python -m rkllmd.portable.demo.training.average TARGET FILE=SHARE…``: average the weights of revised demo models.

Models that were revised from one another have what they agree on in their average, and less of what one of them forgot.
The files have the same tokenizer; the shares add up to 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from rkllmd.portable.demo.training.export import export_model
from rkllmd.portable.demo.training.load import load_model
from rkllmd.portable.demo.training.model import Shape


def main(target: Path, shares: dict[Path, float]) -> None:
    """Write the average."""
    shape = Shape()
    models = [(share, *load_model(path, shape)) for path, share in shares.items()]
    weights = {
        name: torch.stack([share * model.state_dict()[name] for share, model, _ in models]).sum(0)
        for name in models[0][1].state_dict()
    }
    export_model(target, shape, weights, models[0][2])


if __name__ == "__main__":
    pairs = [given.rpartition("=") for given in sys.argv[2:]]
    main(Path(sys.argv[1]), {Path(path): float(share) for path, _, share in pairs})
