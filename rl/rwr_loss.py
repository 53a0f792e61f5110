"""Reward-weighted regression: matching, with more weight on what was paid better."""

import math

import torch

from reward.errors import InputError
from rl.matching import check_vectors, precise


def rwr_weights(
    advantages: torch.Tensor, mask: torch.Tensor, tau: float, max_weight: float = 10.0
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """RWR weights (Lee et al. 2023, arXiv 2302.12192; 2501.13918, sec. 4), made stable: (N,) with mean 1 over the mask.

        a = (r - mu_prompt) / s;   w = min(exp(a / tau), max_weight);   w <- w / mean(w)

    `advantages` (N,) are a, as `rl.advantages` gives them with std="batch"; samples outside `mask` (N,) bool weigh 0.
    Give the whole pool, not a step's batch: over a batch of one every weight would be 1. Metrics: `ess`, the effective
    sample size (sum w)^2 / sum w^2, and `clipped`, the share at max_weight. Raises InputError where the mask is empty
    or tau or max_weight is not above 0.
    """
    check_vectors(advantages=advantages, mask=mask)
    if not (tau > 0 and max_weight > 0):
        raise InputError(f"tau {tau} and max_weight {max_weight} must be above 0")
    if not bool(mask.any()):
        raise InputError("no sample has an advantage: all rewards are missing or alike within their prompts")
    exponent = precise(advantages).masked_fill(~mask, -math.inf) / tau
    clipped = exponent.clamp(max=math.log(max_weight))
    weights = (clipped - clipped[mask].max()).exp()  # the common factor cancels, and so cannot underflow
    weights = weights / weights[mask].mean()
    metrics = {
        "ess": weights.sum().square() / weights.square().sum(),
        "clipped": (exponent[mask] >= math.log(max_weight)).to(weights).mean(),
    }
    return weights, metrics


def rwr_loss(mse: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Flow-RWR (arXiv 2501.13918, sec. 4): L = mean[w mse], `mse` (B,) from `error`, `weights` (B,) from `rwr_weights`.

    Metrics are scalars without gradient: the unweighted error, and the batch's effective sample size.
    """
    check_vectors(mse=mse, weights=weights)
    mse, weights = precise(mse), precise(weights).detach()
    metrics = {
        "mse": mse.detach().mean(),
        "batch_ess": weights.sum().square() / weights.square().sum().clamp(min=torch.finfo(weights.dtype).tiny),
    }
    return (weights * mse).mean(), metrics
