"""A round's clips of nft: made by the old policy, scored in process, turned into advantages within their prompts."""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward.dimensions import NAMES
from reward.errors import InputError
from reward.files import append_jsonl
from reward.model import Reward, RewardModel
from reward.one_by_one import why_missing
from reward.prompts import Prompt
from reward.video import write_video
from rl.advantages import Advantages, scalar_advantages, vector_advantages
from rl.clips import by_dimension, dimension_means, scalar, score_clips
from rl.draws import derived_seed, item_at
from rl.generator import Condition
from rl.loop import Run, TrainingError
from rl.nft import Config
from rl.nft_loss import optimality


@dataclass(frozen=True)
class Rollouts:
    """The clips of round `number` from which this process can learn: latents (B, ...), r (B,) in [0, 1].

    `usable` counts such clips in all processes; `metrics` are about all clips of the round.
    """

    number: int
    latents: Tensor
    conditions: Sequence[Condition]
    optimality: Tensor
    names: Sequence[str]
    usable: int
    metrics: Mapping[str, float]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class _Clips:
    """This process's clips before advantages, with the number of each clip's group and of its prompt."""

    groups: Sequence[int]
    prompts: Sequence[int]
    seeds: Sequence[int]
    latents: Tensor
    rewards: Sequence[Reward | str]


class Collector:
    """Makes the rollouts of a round: `collect(number)` is a function of seed, number and old weights alone."""

    def __init__(
        self,
        config: Config,
        run: Run,
        prompts: Sequence[Prompt],
        conditions: Sequence[Condition],
        critic: RewardModel | None,
    ) -> None:
        assert critic is not None
        processes = run.accelerator.num_processes
        if config.groups % processes:
            raise InputError(f"--groups {config.groups} must be a multiple of the {processes} processes")
        self.config, self.run, self.prompts, self.conditions, self.critic = config, run, prompts, conditions, critic

    def __call__(self, number: int) -> Rollouts:
        """Sample, score and compare; raises TrainingError where no clip of the round has a reward."""
        clips = self._made(number)
        rows = self._gathered([_row(*each) for each in zip(clips.groups, clips.rewards, strict=True)])
        advantages = self._advantages(rows, number)
        first = self.run.accelerator.process_index * len(clips.groups)
        mine = slice(first, first + len(clips.groups))
        kept = advantages.mask[mine].nonzero()[:, 0].tolist()
        ids = [self.prompts[i].id for i in clips.prompts]
        return Rollouts(
            number=number,
            latents=clips.latents[kept],
            conditions=[self.conditions[clips.prompts[i]] for i in kept],
            optimality=optimality(advantages.values[mine][kept], self.config.adv_clip).to(clips.latents),
            names=[f"{ids[i]} (round {number}, seed {clips.seeds[i]})" for i in kept],
            usable=int(advantages.mask.sum()),
            metrics=_metrics(rows, advantages),
        )

    def _made(self, number: int) -> _Clips:
        """Return this process's groups of the round, sampled by the old policy and scored."""
        config, run = self.config, self.run
        share = config.groups // run.accelerator.num_processes
        places = range(run.accelerator.process_index * share, (run.accelerator.process_index + 1) * share)
        groups = [place for place in places for _ in range(config.group_size)]
        prompts = [item_at(number * config.groups + place, len(self.prompts), config.seed) for place in groups]
        seeds = [
            derived_seed("rollout", config.seed, number, place, clip)
            for place in places
            for clip in range(config.group_size)
        ]
        latents: list[Tensor] = []
        rewards: list[Reward | str] = []
        with run.weights.holding(run.extra["old"]):
            for start in range(0, len(seeds), config.sample_batch):
                part = slice(start, start + config.sample_batch)
                asked = [self.prompts[i] for i in prompts[part]]
                latents.append(run.generator.sample([self.conditions[i] for i in prompts[part]], seeds[part]))
                frames = list(run.generator.decode(latents[-1]))
                rewards += score_clips(self.critic, frames, asked, run.generator.sampling.fps)
                if config.keep_rollouts and not run.dry:
                    self._keep(number, zip(asked, seeds[part], frames, rewards[start:], strict=True))
        return _Clips(groups, prompts, seeds, torch.cat(latents), rewards)

    def _gathered(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of all processes, in their order: advantages may need the whole round."""
        if self.run.accelerator.num_processes == 1:
            return rows
        from accelerate.utils import gather_object

        return list(gather_object(rows))

    def _advantages(self, rows: Sequence[Mapping[str, Any]], number: int) -> Advantages:
        """Return advantages (N,) of the round's clips; a reward that is missing is masked."""
        missing = Counter(row["missing"] for row in rows if row["missing"] is not None)
        if missing.total() == len(rows):
            reason, count = missing.most_common(1)[0]
            raise TrainingError(
                f"no clip of round {number} has a reward; {count} of {len(rows)}: {reason}; "
                "look at the critic and at the prompts' questions"
            )
        if missing and self.run.accelerator.is_main_process:
            reason, _ = missing.most_common(1)[0]
            print(f"round {number}: {missing.total()} of {len(rows)} clips have no reward: {reason}", file=sys.stderr)
        groups = torch.tensor([row["group"] for row in rows], dtype=torch.int64)
        if self.config.reward == "scalar":
            rewards = torch.tensor([row["reward"] for row in rows])
            return scalar_advantages(rewards, groups, noise=self.config.least_std)
        stds = torch.tensor([row["stds"] for row in rows]).clamp(min=self.config.least_std)
        weights = torch.tensor([self.critic.weights[name] for name in NAMES])
        table = torch.tensor([row["dimensions"] for row in rows])
        gated = torch.tensor([row["gated"] for row in rows])
        table = torch.where(gated[:, None] & ~table.isnan(), 0.0, table)  # a closed gate pays for no dimension
        return vector_advantages(table, groups, weights=weights, noise=stds)

    def _keep(self, number: int, clips: Iterable[tuple[Prompt, int, NDArray[np.uint8], Reward | str]]) -> None:
        """Save clips and their rewards; a resumed run writes a round anew."""
        folder = self.config.out / "rollouts" / f"round-{number:05d}"
        for prompt, seed, frames, reward in clips:
            video = f"{prompt.id}/{seed}.mp4"
            write_video(folder / video, frames, self.run.generator.sampling.fps)
            value = scalar(reward)
            row = {"prompt_id": prompt.id, "video": video, "seed": seed, "error": why_missing(reward)}
            known = {"reward": None if math.isnan(value) else value, "dimensions": dimension_means([reward])}
            append_jsonl(folder / f"scores-{self.run.accelerator.process_index}.jsonl", row | known)


def _row(group: int, reward: Reward | str) -> dict[str, Any]:
    """Return what advantages are made of: one clip's group, reward, dimensions and why it has none."""
    return {
        "group": group,
        "reward": scalar(reward),
        "gated": not isinstance(reward, str) and bool(reward.gates and reward.gates.closed),
        "dimensions": by_dimension([reward])[0].tolist(),
        "stds": by_dimension([reward], stds=True)[0].tolist(),
        "missing": why_missing(reward),
    }


def _metrics(rows: Sequence[Mapping[str, Any]], advantages: Advantages) -> dict[str, float]:
    """Return the round's rewards, and how many clips and groups say nothing."""
    rewards = np.array([row["reward"] for row in rows])
    table = np.array([row["dimensions"] for row in rows])
    known = np.isfinite(table).any(axis=0)
    by_name = {
        f"reward/{name}": float(np.nanmean(column))
        for name, column, any_known in zip(NAMES, table.T, known, strict=True)
        if any_known
    }
    return {
        "reward_mean": float(np.nanmean(rewards)),
        "reward_std": float(np.nanstd(rewards)),
        "gated": float(np.mean([row["gated"] for row in rows])),
        **by_name,
        **advantages.metrics,
    }
