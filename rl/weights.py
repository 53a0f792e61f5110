"""The adapter's parameters as one flat vector: averaged, swapped, clipped and saved by single operations."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class AdapterWeights:
    """`vector` (N,) fp32 holds all parameters of an adapter, which become views of it; so do their gradients.

    `vector` is what the optimiser trains.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self.vector = torch.nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
        self.vector.grad = torch.zeros_like(self.vector)
        self.shapes = [list(parameter.shape) for parameter in parameters]
        self._parameters = list(parameters)
        start = 0
        for parameter in parameters:
            part = slice(start, start + parameter.numel())
            parameter.data = self.vector.data[part].view_as(parameter)
            parameter.grad = self.vector.grad[part].view_as(parameter)
            start = part.stop

    @property
    def gradient(self) -> Tensor:
        """The gradient, (N,)."""
        assert self.vector.grad is not None
        return self.vector.grad

    def copy(self) -> Tensor:
        """Return the present values, (N,)."""
        return self.vector.detach().clone()

    @torch.no_grad()
    def set(self, values: Tensor) -> None:
        """Replace the values."""
        self.vector.copy_(values)

    @contextmanager
    def holding(self, values: Tensor) -> Iterator[None]:
        """Put other values in place inside the block. A backward pass must run outside."""
        kept = self.copy()
        self.set(values)
        try:
            yield
        finally:
            self.set(kept)

    def check_gradients(self) -> None:
        """Raise RuntimeError where a parameter's gradient is no longer part of the vector's: it would not be used."""
        pointer = self.gradient.data_ptr()
        for parameter in self._parameters:
            if parameter.grad is None or parameter.grad.data_ptr() != pointer:
                raise RuntimeError("an adapter parameter lost its place in the flat gradient")
            pointer += parameter.numel() * self.gradient.element_size()
