"""Diffusion-DPO and Flow-DPO with soft labels and a winner anchor."""

import torch
from torch.nn.functional import logsigmoid

from rl.matching import check_vectors, error, precise

__all__ = ["dpo_loss", "error"]


def dpo_loss(
    mse_w: torch.Tensor,
    mse_l: torch.Tensor,
    mse_ref_w: torch.Tensor,
    mse_ref_l: torch.Tensor,
    beta: float,
    *,
    p: torch.Tensor | None = None,
    anchor: float = 0.0,
    sft: float = 0.0,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Diffusion-DPO (Wallace et al. 2023, arXiv 2311.12908, eq. 14), Flow-DPO with constant beta (2501.13918, sec. 4).

    With Delta_i = mse_i - mse_ref_i and z = -(beta / 2) (Delta_w - Delta_l):

        L = mean[-p log sigmoid(z) - (1 - p) log sigmoid(-z)] + anchor beta mean[relu(Delta_w)] + sft mean[mse_w]

    The four errors are (B,), from `error`, with one noise and one time per pair, the reference's without gradient;
    epsilon, v and flow predictions take the same formula. `p` (B,) in [0, 1] is P(w > l), the label of conservative
    DPO (Mitchell 2023); None means 1. L is log 2 where policy and reference agree, for every p. `anchor` stops what
    plain DPO is prone to, that the winner gets less likely while the loser gets so faster; `sft` is the term of
    Reg-DPO (2511.01450). Metrics are scalars without gradient: `implicit_accuracy` counts z = 0 as one half.
    """
    check_vectors(mse_w=mse_w, mse_l=mse_l, mse_ref_w=mse_ref_w, mse_ref_l=mse_ref_l, p=mse_w if p is None else p)
    mse_w = precise(mse_w)
    delta_w = mse_w - precise(mse_ref_w)
    delta_l = precise(mse_l) - precise(mse_ref_l)
    z = -(beta / 2) * (delta_w - delta_l)
    label = torch.ones_like(z) if p is None else p.to(z)
    preference = -(label * logsigmoid(z) + (1 - label) * logsigmoid(-z)).mean()
    rise = delta_w.relu().mean()
    loss = preference + anchor * beta * rise + sft * mse_w.mean()
    with torch.no_grad():
        metrics = {
            "preference_loss": preference.detach(),
            "implicit_accuracy": ((z > 0).to(z) + 0.5 * (z == 0).to(z)).mean(),
            "logits": z.mean(),
            "delta_w": delta_w.mean(),
            "delta_l": delta_l.mean(),
            "winner_rise": rise.detach(),
            "mse_w": mse_w.mean(),
        }
    return loss, metrics
