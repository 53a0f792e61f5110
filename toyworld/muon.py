"""Muon: the optimiser that takes a step of the same length in every direction of a matrix.

PyTorch has one (`torch.optim.Muon`), which works in bfloat16, matrix by matrix: slow on a processor that has no such
arithmetic. This one works in the matrices' own type and takes all matrices of one shape together.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(Optimizer):
    """Muon for matrices (m, n), with the step's root mean square matched to AdamW's, so that AdamW's `lr` fits.

    K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the match and the decoupled
    weight decay: J. Liu et al., "Muon is Scalable for LLM Training" (2025), section 2.2. Not meant for embeddings,
    convolutions and vectors. Raises ValueError for a parameter that is no matrix.
    """

    def __init__(
        self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        shapes = [tuple(each.shape) for group in self.param_groups for each in group["params"]]
        if wrong := [shape for shape in shapes if len(shape) != 2]:
            raise ValueError(f"Muon is for matrices; got a parameter of shape {wrong[0]}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for shape, alike in _by_shape(group["params"]).items():
                updates = orthogonal(torch.stack([self._direction(each, group["momentum"]) for each in alike]))
                for matrix, update in zip(alike, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(update, alpha=-group["lr"] * 0.2 * max(shape) ** 0.5)
        return loss

    def _direction(self, matrix: Tensor, momentum: float) -> Tensor:
        """Return the gradient with Nesterov momentum."""
        gradient, state = cast(Tensor, matrix.grad), cast(dict[str, Any], self.state[matrix])
        if "mean" not in state:
            state["mean"] = torch.zeros_like(matrix)
        return gradient.lerp(state["mean"].lerp_(gradient, 1 - momentum), momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices (B, m, n) with the same singular vectors and singular values near 1 (0.68 to 1.2).

    Five iterations of a quintic Newton-Schulz polynomial (Jordan et al. 2024). Singular values below a 500th of their
    matrix's norm grow less; zero stays zero.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.mT).mT
    a, b, c = _COEFFICIENTS
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x


def _by_shape(matrices: Iterable[Tensor]) -> dict[tuple[int, ...], list[Tensor]]:
    alike: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
    for each in matrices:
        if each.grad is not None:
            alike[tuple(each.shape)].append(each)
    return alike
