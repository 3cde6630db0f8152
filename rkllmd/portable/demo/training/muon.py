"""The Muon optimizer, for the many small matrices of a small model."""

# mypy: disable-error-code="misc,no-untyped-call,untyped-decorator"
# (where torch is not installed its classes are unknown)

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

MOMENTUM = 0.95
# Coefficients of the quintic iteration that drives all singular values towards 1.
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Momentum whose direction is made orthogonal.

    torch has one too, but it works matrix by matrix and in bfloat16: on a CPU, with matrices as small as ours, that
    takes nearly as long as the rest of the training. This one treats all matrices of one shape together.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update all matrices."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                by_shape[tuple(sorted(parameter.shape))].append(parameter)
            for (short, long), parameters in by_shape.items():
                updates = _orthogonal(torch.stack([_lying(self._direction(parameter)) for parameter in parameters]))
                # As large as an update of AdamW would be.
                rate = group["lr"] * 0.2 * max(short, long) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.sub_(update if parameter.shape == update.shape else update.T, alpha=rate)

    def _direction(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
        return parameter.grad.lerp(state["momentum"], MOMENTUM)


def _lying(matrix: Tensor) -> Tensor:
    return matrix.T if matrix.shape[0] > matrix.shape[1] else matrix


def _orthogonal(x: Tensor) -> Tensor:
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x
