"""Initial weights with which the model can copy.

To repeat a name or to fill in a function's argument, a model has to find what followed the same token before. Two
attention heads in a row do that, but they are of no use before both are there, so a model as small as ours finds them
only after far more training than all the rest needs. Therefore they are put in from the start; training then refines
them like any other weight.

- Layer 0, head 0 looks one position back and writes down there what token it saw.
- Layer 1, head 0 looks for the position whose note says "the token before me was the one you are at now", and adds what
  stands there to the prediction.
"""

# mypy: disable-error-code="untyped-decorator,misc"
# (where torch is not installed its classes are unknown)

from __future__ import annotations

import torch

from rkllmd.portable.demo.training.model import Model, Shape

ALWAYS = 0  # a dimension that all embeddings have in common, as nothing else in the model is constant
CONTENT = slice(1, 33)  # what makes a token distinct
NOTE = slice(96, 128)  # where the first head writes the content of the token before


@torch.no_grad()
def put_in_induction_heads(model: Model) -> None:
    """Overwrite the initial weights of the two heads; all other outputs of layers begin at zero."""
    shape = model.shape
    width = shape.head_width
    model.token_embd.weight[:, ALWAYS] = 0.3
    model.token_embd.weight[:, NOTE] = 0.0
    for block in model.blk:
        block.attn_output.weight.zero_()
        block.ffn_down.weight.zero_()
    identity = torch.eye(width)

    before, match = model.blk[0], model.blk[1]
    angles = shape.rope_base ** (-torch.arange(0, width, 2) / width)
    for head in (before.attn_q, before.attn_k):
        head.weight[:width] = 0.0
    # Keys point one way, queries the same way turned by one position: they meet where the distance is one.
    before.attn_k.weight[0:width:2, ALWAYS] = 0.6
    before.attn_q.weight[0:width:2, ALWAYS] = 0.6 * angles.cos()
    before.attn_q.weight[1:width:2, ALWAYS] = -0.6 * angles.sin()
    _read(before.attn_v.weight, CONTENT, identity)
    before.attn_output.weight[NOTE, :width] = 0.1 * identity

    # Content is compared in the slowly turning half of the head's dimensions, where distance hardly matters.
    half = width // 2
    slow = torch.zeros(width, width)
    slow[half:, :half] = 1.7 * torch.eye(half)
    _read(match.attn_q.weight, CONTENT, slow)
    _read(match.attn_k.weight, NOTE, slow)
    _read(match.attn_v.weight, CONTENT, identity)
    match.attn_output.weight[CONTENT, :width] = 0.5 * identity


def _read(weight: torch.Tensor, dimensions: slice, matrix: torch.Tensor) -> None:
    width = matrix.shape[0]
    weight[:width] = 0.0
    weight[:width, dimensions] = matrix


def initial_model(shape: Shape) -> Model:
    """Return an untrained model that can copy."""
    model = Model(shape)
    put_in_induction_heads(model)
    return model
