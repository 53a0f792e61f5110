"""One prompt's candidates in order, and the pick."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reward.curve import Pool, pooled_between_variance
from reward.errors import InputError
from reward.ranking import lower_bounds, ranked, shrunken
from reward.scores import ScoreRow


@dataclass(frozen=True)
class Choice:
    """One prompt's candidates, best first, with what they were ranked by and their shrunken rewards, all (N,)."""

    prompt_id: str
    candidates: tuple[ScoreRow, ...]
    criterion: np.ndarray
    expected_true: np.ndarray
    failed: tuple[ScoreRow, ...]

    @property
    def best(self) -> ScoreRow | None:
        """The pick, or None where every candidate failed."""
        return self.candidates[0] if self.candidates else None

    @property
    def gain(self) -> float:
        """Reward of the pick minus the mean reward of the candidates; NaN without a pick."""
        rewards = [row.reward for row in self.candidates]
        return rewards[0] - float(np.mean(rewards)) if rewards else np.nan

    @property
    def tied_with(self) -> tuple[str, ...]:
        """The other candidates that were ranked by the same number as the pick."""
        return tuple(
            row.video
            for row, value in zip(self.candidates[1:], self.criterion[1:], strict=True)
            if value == self.criterion[0]
        )

    @property
    def pool(self) -> Pool:
        """The candidates as numbers."""
        return _pool(self.candidates)

    def to_json(self, k: float) -> dict[str, Any]:
        """Return the prompt's row: the pick, its margin and ties, all candidates in order; ranked with `k`."""
        best, criterion = self.best, self.criterion
        candidates = [
            {
                "rank": i,
                "video": row.video,
                "status": row.status,
                "reward": row.reward,
                "reward_std": _null(row.reward_std),
                "lower_bound": float(bound),
                "expected_true_reward": _null(float(true)),
            }
            for i, (row, bound, true) in enumerate(zip(self.candidates, criterion, self.expected_true, strict=True), 1)
        ]
        return {
            "prompt_id": self.prompt_id,
            "status": "ok" if best else "no_candidate",
            "error": None if best else f"none of {len(self.failed)} candidates has a reward",
            "video": best.video if best else None,
            "sha256": best.sha256 if best else None,
            "reward": best.reward if best else None,
            "reward_std": _null(best.reward_std) if best else None,
            "lower_bound": float(criterion[0]) if best else None,
            "lower_bound_k": k,
            "expected_true_reward": _null(float(self.expected_true[0])) if best else None,
            "gain_over_mean": _null(self.gain),
            "margin": float(criterion[0] - criterion[1]) if len(criterion) > 1 else None,
            "tied_with": list(self.tied_with),
            "num_candidates": len(self.candidates) + len(self.failed),
            "num_failed": len(self.failed),
            "candidates": candidates,
            "failed": [{"video": row.video, "reason": row.failure} for row in self.failed],
        }


def choose(rows: Sequence[ScoreRow], k: float) -> tuple[list[Choice], float | None]:
    """Rank each prompt's scored candidates by reward - k * reward_std; equal ones by video name.

    Returns the choices in the order in which the prompts first appear, and tau^2, the between-candidate variance that
    the rewards were shrunken with (None where a reward_std is missing; expected true rewards are NaN then).
    Raises InputError for a candidate without reward_std where k > 0.
    """
    by_prompt: dict[str, list[ScoreRow]] = {}
    for row in rows:
        if k and row.scored and not np.isfinite(row.reward_std):
            raise InputError(f"{row.where}: no reward_std, so there is no lower bound; rank without --lower_bound")
        by_prompt.setdefault(row.prompt_id, []).append(row)
    scored = {name: [row for row in group if row.scored] for name, group in by_prompt.items()}
    tau2 = pooled_between_variance([_pool(group) for group in scored.values() if group])
    return [_choice(name, scored[name], by_prompt[name], k, tau2) for name in by_prompt], tau2


def _choice(name: str, scored: list[ScoreRow], rows: list[ScoreRow], k: float, tau2: float | None) -> Choice:
    by_name = sorted(scored, key=lambda row: row.video)
    pool = _pool(by_name)
    criterion = lower_bounds(pool.rewards, pool.stds, k)
    true = shrunken(pool.rewards, pool.stds, tau2) if by_name and tau2 is not None else np.full(len(by_name), np.nan)
    order = ranked(criterion)
    failed = tuple(sorted((row for row in rows if not row.scored), key=lambda row: row.video))
    return Choice(name, tuple(by_name[i] for i in order), criterion[order], true[order], failed)


def _pool(rows: Sequence[ScoreRow]) -> Pool:
    return Pool(np.array([row.reward for row in rows], float), np.array([row.reward_std for row in rows], float))


def _null(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
