"""From rewards to advantages: compared within a prompt, no louder than the critic's noise, missing ones masked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from reward.errors import InputError
from rl.matching import precise

Std = Literal["group", "batch"]


@dataclass(frozen=True)
class Advantages:
    """`values` (N,), 0 outside `mask` (N,) bool: samples to learn from. `metrics` counts what was left out, and why.

    groups: prompts. groups_missing: those without a reward. groups_alike: those whose rewards do not differ, or that
    have one sample, so that nothing can be learned from them. samples_missing: samples without a reward.
    samples_masked: samples outside the mask, for any of these reasons. cells_missing: share of missing rewards among
    N x K. cells_floored: share of compared (prompt, dimension) cells whose spread is below the noise. batch_std:
    standard deviation of the advantages before whitening.
    """

    values: torch.Tensor
    mask: torch.Tensor
    metrics: dict[str, float]


def group_index(prompt_ids: Sequence[str]) -> torch.Tensor:
    """Return the number of each sample's prompt, (N,) int64 from 0, in the order in which prompts first appear."""
    numbers = {identifier: i for i, identifier in enumerate(dict.fromkeys(prompt_ids))}
    return torch.tensor([numbers[identifier] for identifier in prompt_ids], dtype=torch.int64)


def scalar_advantages(
    rewards: torch.Tensor,
    groups: torch.Tensor,
    *,
    noise: torch.Tensor | float = 0.0,
    std: Std = "group",
    whiten: bool = False,
) -> Advantages:
    """GRPO's advantage (arXiv 2402.03300, sec. 4.1) of one reward per sample, (N,): `vector_advantages` with K = 1.

    `noise` is a number or one standard deviation per sample, (N,), such as reward_std.
    """
    if rewards.ndim != 1:
        raise InputError(f"rewards have shape {tuple(rewards.shape)}; a scalar reward is (N,)")
    floor = torch.as_tensor(noise, dtype=rewards.dtype, device=rewards.device)
    return vector_advantages(
        rewards[:, None], groups, noise=floor[:, None] if floor.ndim else floor[None], std=std, whiten=whiten
    )


def vector_advantages(
    rewards: torch.Tensor,
    groups: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    std: Std = "group",
    whiten: bool = True,
    least_std: float = 1e-6,
) -> Advantages:
    """GDPO (arXiv 2601.05242, sec. 3) with a noise floor and masks: normalise each dimension, sum, whiten the batch.

        a_ik = (R_ik - mu_gk) / max(s_gk, noise_gk);   A_i = sum_k w_k a_ik;   A <- (A - mean A) / max(std A, least_std)

    `rewards` (N, K), NaN where a dimension does not apply or was not answered; such a cell counts neither in mu and s
    nor in the sum. `groups` (N,) int64 numbers the prompts from 0. Standard deviations are population ones; s_gk is
    that of the group, or with std="batch" the root mean square of deviations from the group means over all groups.
    `noise` (K,) or (N, K) is the critic's own standard deviation (dimension_stds), in a group its root mean square:
    without the floor a dimension that is pure noise is as loud as one that is all signal. A missing noise is no floor.
    Whitening is over the samples that count; `least_std` keeps it from making a batch without signal as loud as any.
    Raises InputError for an infinite reward, a negative weight or noise and shapes that do not fit.
    """
    weights = torch.ones(rewards.shape[-1:]) if weights is None else weights
    _check(rewards, groups, weights, noise)
    rewards = precise(rewards)
    used = weights.to(rewards.device) > 0
    asked = ~rewards.isnan() & used
    cells = _Cells(rewards.nan_to_num(0.0), asked, groups)
    spread, floor = cells.spread(std), cells.noise(noise)
    scale = torch.maximum(spread, floor).clamp(min=torch.finfo(rewards.dtype).tiny)
    values = (cells.centred / scale[groups]) @ weights.to(rewards)
    mask = (asked & cells.differ[groups]).any(dim=1)
    batch_std = float(values[mask].std(correction=0)) if mask.any() else 0.0
    if whiten and mask.any():
        values = (values - values[mask].mean()) / max(batch_std, least_std)
    metrics = {
        **cells.left_out(),
        "samples_masked": float((~mask).sum()),
        "cells_missing": 1 - float(asked[:, used].to(rewards).mean()) if asked[:, used].numel() else 0.0,
        "cells_floored": float((cells.differ & (floor > spread)).sum()) / max(1.0, float(cells.differ.sum())),
        "batch_std": batch_std,
    }
    return Advantages(values.masked_fill(~mask, 0.0), mask, metrics)


class _Cells:
    """Rewards (N, K) by prompt and dimension, (G, K).

    `centred` (N, K): deviation from the mean of the group's known rewards, 0 where there is none. `differ` (G, K)
    bool: cells whose known rewards are not all alike.
    """

    def __init__(self, rewards: torch.Tensor, known: torch.Tensor, groups: torch.Tensor) -> None:
        self.groups, self.known = groups, known
        self.num_groups = int(groups.max()) + 1 if len(groups) else 0
        self.counts = self._sum(known.to(rewards))
        least, most = (self._extreme(rewards, known, reduce) for reduce in ("amin", "amax"))
        self.differ = most > least
        means = self._sum(rewards * known) / self.counts.clamp(min=1)
        self.centred = (rewards - means[groups]) * (known & self.differ[groups])

    def spread(self, std: Std) -> torch.Tensor:
        """Return s, (G, K)."""
        squares, counts = self._sum(self.centred.square()), self.counts * self.differ
        if std == "batch":
            pooled = squares.sum(dim=0) / counts.sum(dim=0).clamp(min=1)
            return pooled.sqrt().expand(self.num_groups, -1)
        return (squares / counts.clamp(min=1)).sqrt()

    def noise(self, noise: torch.Tensor | None) -> torch.Tensor:
        """Return the root mean square of the noise of each cell's known rewards, (G, K); 0 where it is missing."""
        noise = torch.zeros(()) if noise is None else noise
        each = noise.to(self.centred).expand_as(self.centred)
        given = self.known & ~each.isnan()
        squares = self._sum(each.nan_to_num(0.0).square() * given)
        return (squares / self._sum(given.to(squares)).clamp(min=1)).sqrt()

    def left_out(self) -> dict[str, float]:
        """Count groups and samples that say nothing."""
        members = self._sum(torch.ones_like(self.centred[:, :1]))[:, 0] > 0
        has_reward = (self.counts > 0).any(dim=1)
        return {
            "groups": float(members.sum()),
            "groups_missing": float((members & ~has_reward).sum()),
            "groups_alike": float((has_reward & ~self.differ.any(dim=1)).sum()),
            "samples": float(len(self.known)),
            "samples_missing": float((~self.known.any(dim=1)).sum()),
        }

    def _sum(self, values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(self.num_groups, values.shape[1]).index_add(0, self.groups, values)

    def _extreme(self, rewards: torch.Tensor, known: torch.Tensor, reduce: str) -> torch.Tensor:
        none = torch.inf if reduce == "amin" else -torch.inf
        start = rewards.new_full((self.num_groups, rewards.shape[1]), none)
        index = self.groups[:, None].expand_as(rewards)
        return start.scatter_reduce(0, index, rewards.masked_fill(~known, none), reduce)


def _check(rewards: torch.Tensor, groups: torch.Tensor, weights: torch.Tensor, noise: torch.Tensor | None) -> None:
    if rewards.ndim != 2:
        raise InputError(f"rewards have shape {tuple(rewards.shape)}; a vector reward is (N, K)")
    n, k = rewards.shape
    if groups.shape != (n,) or groups.dtype != torch.int64 or bool((groups < 0).any()):
        raise InputError(f"groups must be {n} int64 numbers from 0, one per sample; `group_index` makes them")
    if weights.shape != (k,) or not bool((weights >= 0).all() & weights.isfinite().all()):
        raise InputError(f"weights must be {k} finite numbers, none negative")
    if not bool((weights > 0).any()):
        raise InputError("all weights are zero; give at least one dimension a weight above zero")
    if bool(rewards.isinf().any()):
        raise InputError(f"rewards of sample {int(rewards.isinf().any(dim=1).nonzero()[0])} are infinite")
    if noise is not None and (noise.shape not in ((k,), (n, k)) or bool(((noise < 0) | noise.isinf()).any())):
        raise InputError(f"noise must be finite standard deviations of shape ({k},) or ({n}, {k}), none negative")
