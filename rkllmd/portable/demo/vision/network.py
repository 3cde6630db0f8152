"""The classifier in torch: four convolutions and one matrix, small enough for 120 KB of int8 weights."""

# mypy: disable-error-code="misc"
# (where torch is not installed its classes are unknown)

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

MEAN, SPREAD = 127.5, 64.0  # what pixels of 0 to 255 are shifted and divided by
CHANNELS = (3, 24, 48, 64, 64)
STRIDES = (2, 2, 2, 1)
CELLS = 6 * 6  # what three strides of two leave of 48 x 48
DIGITS = 10


class Network(nn.Module):
    """Pictures (batch, 3, 48, 48) of pixels from 0 to 255 in, logits (batch, 10) out."""

    def __init__(self) -> None:
        super().__init__()
        shapes = list(zip(CHANNELS, CHANNELS[1:], STRIDES, strict=False))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False) for before, after, stride in shapes
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _, after, _ in shapes)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(CHANNELS[-1] * CELLS, DIGITS)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits."""
        x = (pixels - MEAN) / SPREAD
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(x)).relu()
        return self.head(self.dropout(x.flatten(1)))

    def folded(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield weight and bias of each convolution with its normalisation folded in."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            yield (
                (convolution.weight * scale[:, None, None, None]).detach(),
                (norm.bias - norm.running_mean * scale).detach(),
            )
