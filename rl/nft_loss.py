"""DiffusionNFT: reward samples through a positive and a negative policy, without log-probabilities."""

from typing import Literal

import torch

from reward.errors import InputError
from rl.matching import check_vectors, error, precise

LEAST_SCALE = 1e-5

Schedule = Literal["on_policy", "type_1", "type_2"]
_SCHEDULES = {"on_policy": (0, 0.0, 0.0), "type_1": (0, 0.001, 0.5), "type_2": (75, 0.0075, 0.999)}


def optimality(advantages: torch.Tensor, adv_clip: float = 5.0) -> torch.Tensor:
    """DiffusionNFT's r (Zheng et al. 2025, arXiv 2509.16117, sec. 3.3): 1/2 + 1/2 clip(A / adv_clip, -1, 1), (B,)."""
    return 0.5 + 0.5 * (precise(advantages) / adv_clip).clamp(-1, 1)


def nft_loss(
    v: torch.Tensor,
    v_old: torch.Tensor,
    target: torch.Tensor,
    r: torch.Tensor,
    *,
    beta: float = 1.0,
    adv_clip: float = 5.0,
    sigma: torch.Tensor | None = None,
    v_ref: torch.Tensor | None = None,
    kl: float = 0.0,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """DiffusionNFT (arXiv 2509.16117, eq. 5), with its self-normalised x0 error if `sigma` is given.

        v+ = (1 - beta) v_old + beta v;   v- = (1 + beta) v_old - beta v
        L = adv_clip mean[(r l+ + (1 - r) l-) / beta] + kl mean[mse(v, v_ref)]

    `v`, `v_old`, `v_ref` and `target` v* are (B, ...) of one kind, flow (epsilon - x0) or v (alpha epsilon - sigma x0);
    only `v` carries a gradient. `r` (B,) in [0, 1] comes from `optimality` with the same adv_clip. Without `sigma`
    l = mse(v+-, v*). With `sigma` (B,), the share of noise in x_t, l = mean[(x0+- - x0)^2] / sg(mean|x0+- - x0|),
    where x0+- - x0 = -sigma (v+- - v*) for both kinds. Plain, at v = v_old, the gradient is that of
    mean[A mse(v, v*)] for |A| <= adv_clip: advantage-weighted matching. Metrics are scalars without gradient.
    """
    check_vectors(r=r, sigma=r if sigma is None else sigma)
    if not (beta > 0 and adv_clip > 0):
        raise InputError(f"beta {beta} and adv_clip {adv_clip} must be above 0")
    if kl and v_ref is None:
        raise InputError("a KL term needs the reference's prediction, v_ref")
    v, v_old, target, r = precise(v), precise(v_old).detach(), precise(target).detach(), precise(r).detach()
    positive = _branch((1 - beta) * v_old + beta * v, target, sigma)
    negative = _branch((1 + beta) * v_old - beta * v, target, sigma)
    policy = adv_clip / beta * (r * positive + (1 - r) * negative).mean()
    divergence = error(v, v_ref.detach()).mean() if v_ref is not None else None
    loss = policy if divergence is None else policy + kl * divergence
    metrics = {
        "policy_loss": policy.detach(),
        "positive_loss": positive.detach().mean(),
        "negative_loss": negative.detach().mean(),
        "old_divergence": error(v.detach(), v_old).mean(),
        "r": r.mean(),
    }
    return loss, metrics if divergence is None else {**metrics, "ref_divergence": divergence.detach()}


def _branch(v: torch.Tensor, target: torch.Tensor, sigma: torch.Tensor | None) -> torch.Tensor:
    """Return l of one branch, (B,)."""
    squared = error(v, target)
    if sigma is None:
        return squared
    sigma = sigma.to(squared)
    scale = sigma * (v - target).detach().abs().flatten(1).mean(dim=1)
    return sigma.square() * squared / scale.clamp(min=LEAST_SCALE)


def old_decay(i: int, schedule: Schedule | float) -> float:
    """DiffusionNFT's eta (arXiv 2509.16117, sec. 3.3) for theta_old <- eta theta_old + (1 - eta) theta after update i.

    "on_policy" is 0; "type_1" min(.001 i, .5); "type_2" clip(.0075 (i - 75), 0, .999); a number in [0, 1) is constant.
    """
    if not isinstance(schedule, str):
        if not 0 <= schedule < 1:
            raise InputError(f"eta {schedule} must be in [0, 1); at 1 the old policy would never move")
        return float(schedule)
    if schedule not in _SCHEDULES:
        raise InputError(f"unknown schedule {schedule!r} of eta; known are {', '.join(_SCHEDULES)}, or a number")
    flat, rate, most = _SCHEDULES[schedule]
    return min(max(0, i - flat) * rate, most)
