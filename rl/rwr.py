"""Fine-tune a generator on its own scored rollouts: reward-weighted regression, offline, with a LoRA adapter.

Needs the rollouts that `worldcritic sample` made and the scores that `worldcritic score` gave them; latents and prompts
are read from the rollouts, nothing is encoded again. Clips without a reward, and prompts whose rewards are all alike,
are left out and counted.
Writes <out>/best and <out>/last, which the stock diffusers pipeline loads with load_lora_weights, checkpoints, logs
and, with --judge_prompts, held-out samples and the hacking monitor's page. Exit code 3: the monitor stopped the run.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reward.config import config
from reward.scores import ScoreRow, load_scores
from rl.options import AboveZero, Options
from rl.starting import check_out, set_up, start, tell
from rl.store import HEADER

if TYPE_CHECKING:
    from torch import Tensor

    from rl.loop import Batch, Run
    from rl.stored import StoredClips


@config
class Config(Options):
    """Options of `worldcritic rwr`."""

    rollouts: Path
    """Folder of rollouts, as `worldcritic sample` writes it."""
    scores: Path
    """Score file of these rollouts, as `worldcritic score` writes it."""
    tau: AboveZero = 0.5
    """Temperature: a clip one standard deviation above its prompt's mean weighs exp(1 / tau) times the mean one."""
    max_weight: AboveZero = 10.0
    """Weights are cut here before they are divided by their mean."""
    reward: Literal["scalar", "vector"] = "scalar"
    """The reward as it is, or its dimensions each compared on their own, with the critic's doubt as noise floor."""
    least_std: AboveZero = 0.05
    """Rewards that differ by less are no louder than this: a noise floor."""


def main(config: Config) -> int:
    """Train."""
    rows = load_scores(config.scores)[: config.limit]
    check_out(config, "rwr")
    from rl.stored import StoredClips, open_store

    store = open_store(config.rollouts)
    kept, weights, pool = weigh(config, rows)
    data = StoredClips(store, kept)
    inputs = {"scores": config.scores, "rollouts": config.rollouts / HEADER}
    setup = set_up(config, "rwr", inputs, store=store)
    run = start(config, setup)
    for _ in run.steps():
        run.note(pool)
        for batch in run.batches(len(kept)):
            loss, metrics = rwr_step(run, batch, data, weights)
            run.backward(loss, metrics, [f"{kept[i].prompt_id} ({kept[i].video})" for i in batch.items])
        run.update()
    return tell(config, run, f"{len(kept)} of {len(rows)} clips, effectively {pool['ess']:.0f}")


def weigh(config: Config, rows: Sequence[ScoreRow]) -> "tuple[list[ScoreRow], Tensor, dict[str, float]]":
    """Return the rows that can be learned from, their weights (N,) of mean 1, and metrics of the whole pool."""
    import torch

    from reward.dimensions import NAMES
    from rl.advantages import group_index, scalar_advantages, vector_advantages
    from rl.rwr_loss import rwr_weights

    groups = group_index([row.prompt_id for row in rows])
    if config.reward == "scalar":
        rewards = torch.tensor([row.reward for row in rows])
        advantages = scalar_advantages(rewards, groups, noise=config.least_std, std="batch")
    else:
        table = torch.tensor([[_of(row.dimensions, name, row) for name in NAMES] for row in rows])
        stds = torch.tensor([[row.dimension_stds.get(name, 0.0) for name in NAMES] for row in rows])
        noise = stds.nan_to_num(0.0).clamp(min=config.least_std)
        advantages = vector_advantages(table, groups, noise=noise, std="batch")
    weights, metrics = rwr_weights(advantages.values, advantages.mask, config.tau, config.max_weight)
    kept = advantages.mask.nonzero()[:, 0]
    counted = {name: advantages.metrics[name] for name in ("groups", "groups_missing", "groups_alike")}
    pool = {name: float(value) for name, value in metrics.items()} | counted
    left_out = f"{pool['groups_missing']:.0f} prompts have no reward, in {pool['groups_alike']:.0f} all are alike"
    print(f"{len(kept)} of {len(rows)} clips say something: {left_out}", file=sys.stderr)
    return [rows[i] for i in kept.tolist()], weights[kept], pool


def rwr_step(
    run: "Run", batch: "Batch", data: "StoredClips", weights: "Tensor"
) -> "tuple[Tensor, dict[str, Tensor | float]]":
    """Return loss and metrics of a batch of clips, each at one noise level under one noise."""
    from rl.experts import by_expert
    from rl.matching import error
    from rl.rwr_loss import rwr_loss

    generator = run.generator
    clean = data.latents(batch.items).to(generator.device)
    times, noise = run.draw(batch, clean.shape[1:])
    noisy, target = generator.noisy(clean, noise, times), generator.target(clean, noise, times)
    mse = error(run.predict(noisy, times, data.conditions(batch.items)), target)
    loss, metrics = rwr_loss(mse, weights[list(batch.items)].to(mse))
    return loss, {**metrics, **by_expert(generator, times, {"mse": mse.detach()})}


def _of(dimensions: Mapping[str, float], name: str, row: ScoreRow) -> float:
    """Return a dimension, NaN where there is none; a closed gate pays for nothing."""
    value = dimensions.get(name, math.nan)
    closed = row.gates is not None and bool(row.gates.closed)
    return 0.0 if closed and not math.isnan(value) else value
