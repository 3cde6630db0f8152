"""The demo model in torch: the llama architecture, small."""

# mypy: disable-error-code="misc"
# (where torch is not installed its classes are unknown)

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """The model's dimensions."""

    vocabulary: int = 1024
    width: int = 128
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 352
    epsilon: float = 1e-5
    rope_base: float = 10000.0
    context: int = 1024

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


class Norm(nn.Module):
    """RMS normalisation."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.width))
        self.epsilon = shape.epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return functional.rms_norm(x, x.shape[-1:], self.weight, self.epsilon)


class Rope(nn.Module):
    """Rotary positions on interleaved pairs, as llama.cpp's llama architecture has them."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        frequencies = shape.rope_base ** (-torch.arange(0, shape.head_width, 2) / shape.head_width)
        angles = torch.arange(shape.context)[:, None] * frequencies
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Rotate (batch, head, position, width) by position."""
        even, odd = x[..., 0::2], x[..., 1::2]
        cosine, sine = self.cosine[: x.shape[2]], self.sine[: x.shape[2]]
        return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1).flatten(-2)


class Block(nn.Module):
    """One layer: attention, then a gated feed-forward. Names are those of the GGUF tensors."""

    def __init__(self, shape: Shape, rope: Rope) -> None:
        super().__init__()
        self.shape, self.rope = shape, rope
        kv_width = shape.kv_heads * shape.head_width
        self.attn_norm, self.ffn_norm = Norm(shape), Norm(shape)
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_v = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.ffn_down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def _split(self, x: Tensor, heads: int) -> Tensor:
        return x.view(*x.shape[:2], heads, self.shape.head_width).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Add what this layer finds to the residual stream."""
        shape, h = self.shape, self.attn_norm(x)
        q = self.rope(self._split(self.attn_q(h), shape.heads))
        k = self.rope(self._split(self.attn_k(h), shape.kv_heads)).repeat_interleave(shape.heads // shape.kv_heads, 1)
        v = self._split(self.attn_v(h), shape.kv_heads).repeat_interleave(shape.heads // shape.kv_heads, 1)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        x = x + self.attn_output(attended.transpose(1, 2).flatten(2))
        h = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Model(nn.Module):
    """The whole model; the output shares the embedding's weights."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        rope = Rope(shape)
        self.blk = nn.ModuleList(Block(shape, rope) for _ in range(shape.layers))
        self.output_norm = Norm(shape)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, 0.0, 0.05)

    def forward(self, tokens: Tensor, mask: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """Logits of all positions, or only of those that ``rows`` selects."""
        x = self.token_embd(tokens)
        for block in self.blk:
            x = block(x, mask)
        x = self.output_norm(x)
        if rows is not None:
            x = x[rows]
        return functional.linear(x, self.token_embd.weight)
