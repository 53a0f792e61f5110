"""How far a generator's prediction is from its target, in any parametrisation."""

import torch

from reward.errors import InputError


def error(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the squared error of each sample, (B,): the mean over all other dimensions, in fp32 or better.

    `prediction` and `target` are (B, ...): latents of five dimensions or packed ones of three; the target of what the
    model predicts: epsilon - x0 (flow), epsilon, or alpha epsilon - sigma x0 (v). A mean, not a sum, so that beta and
    other weights do not depend on the size of a video. Raises InputError for shapes that differ, which broadcasting
    would hide.
    """
    if prediction.shape != target.shape or prediction.ndim < 2:
        raise InputError(
            f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} must have one shape (B, ...)"
        )
    return (precise(prediction) - precise(target)).square().flatten(1).mean(dim=1)


def precise(values: torch.Tensor) -> torch.Tensor:
    """Return values in fp32, or fp64 where they are: sums over a video drown in bf16."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def check_vectors(**vectors: torch.Tensor) -> None:
    """Raise InputError naming the first that is not (B,), with the B of the first: (B, 1) would broadcast to (B, B)."""
    wanted = next(iter(vectors.values())).shape
    for name, vector in vectors.items():
        if vector.ndim != 1 or vector.shape != wanted:
            raise InputError(f"{name} has shape {tuple(vector.shape)}; all of {', '.join(vectors)} are (B,), one B")
