"""Fine-tune a generator online with a critic's rewards: DiffusionNFT, with a LoRA adapter.

Each round the old policy makes groups of clips for some prompts, the critic scores them, and the adapter learns to
match the good ones and to avoid the bad ones; no log-probabilities, any sampler. The old policy follows the adapter.
Writes <out>/best and <out>/last, which the stock diffusers pipeline loads with load_lora_weights, checkpoints, logs
and, with --judge_prompts, held-out samples and the hacking monitor's page. Exit code 3: the monitor stopped the run.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import pydantic

from reward.config import config
from reward.errors import InputError
from reward.options import Positive
from reward.prompts import load_prompts
from rl.options import AboveZero, NotNegative, Options
from rl.starting import check_out, set_up, start, tell

if TYPE_CHECKING:
    from torch import Tensor

    from rl.loop import Batch, Run
    from rl.rollouts import Rollouts


@config
class Config(Options):
    """Options of `worldcritic nft`."""

    prompts: Path
    """Training prompts: VideoVerse's JSON, JSONL, or plain text with one prompt a line."""
    groups: Positive = 6
    """Prompts per round, over all processes."""
    group_size: Annotated[int, pydantic.Field(ge=2)] = 8
    """Clips per prompt; rewards are compared among them."""
    updates: Positive = 4
    """Optimiser steps per round, each on another noise level of each clip."""
    reward: Literal["scalar", "vector"] = "scalar"
    """The reward as it is, or its dimensions each compared on their own, with the critic's doubt as noise floor."""
    least_std: AboveZero = 0.05
    """Rewards of a group that differ by less are no louder than this: a noise floor."""
    adv_clip: AboveZero = 5.0
    """Advantages are cut here."""
    beta: AboveZero = 1.0
    """How far the positive and the negative policy are from the old one."""
    old: Literal["on_policy", "type_1", "type_2"] | Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.5
    """How much of the old policy is kept after each round: a number, or one of the paper's schedules."""
    matching: Literal["plain", "x0"] = "x0"
    """Squared error of the prediction, or the paper's error of x0, normalised by its own size."""
    kl: NotNegative = 0.0
    """Weight of the squared distance to the reference's prediction, which keeps quality and diversity."""
    keep_rollouts: bool = False
    """Save every clip that was scored, with its reward, into <out>/rollouts."""


def main(config: Config) -> int:
    """Train."""
    if config.critic is None:
        raise InputError("nft learns from a critic's rewards: --critic NAME")
    prompts = list(load_prompts(config.prompts).values())[: config.limit]
    check_out(config, "nft")
    setup = set_up(config, "nft", {"prompts": config.prompts}, prompts=prompts)
    run = start(config, setup, extra=("old",))
    from rl.nft_loss import old_decay
    from rl.rollouts import Collector

    collect = Collector(config, run, prompts, setup.conditions, setup.critic)
    rollouts: Rollouts | None = None
    for step in run.steps():
        number, update = divmod(step, config.updates)
        if rollouts is None or rollouts.number != number:
            rollouts = collect(number)
        run.note(rollouts.metrics)
        if rollouts.usable:
            for batch in run.batches(len(rollouts)):
                loss, metrics = nft_step(config, run, batch, rollouts)
                run.backward(loss, metrics, [rollouts.names[i] for i in batch.items])
            run.update()
        if update == config.updates - 1:
            run.extra["old"].lerp_(run.weights.vector.detach(), 1 - old_decay(number, config.old))
    return tell(config, run, f"{len(prompts)} prompts, {config.groups * config.group_size} clips a round")


def nft_step(
    config: Config, run: "Run", batch: "Batch", rollouts: "Rollouts"
) -> "tuple[Tensor, dict[str, Tensor | float]]":
    """Return loss and metrics of a batch of the round's clips, each at one noise level under one noise."""
    import torch

    from rl.experts import by_expert
    from rl.matching import error
    from rl.nft_loss import nft_loss

    generator, items = run.generator, list(batch.items)
    clean = rollouts.latents[items]
    times, noise = run.draw(batch, clean.shape[1:])
    noisy, target = generator.noisy(clean, noise, times), generator.target(clean, noise, times)
    conditions = [rollouts.conditions[i] for i in items]
    with torch.no_grad():
        with run.weights.holding(run.extra["old"]):
            v_old = run.predict(noisy, times, conditions)
        v_ref = None
        if config.kl:
            with generator.reference():
                v_ref = run.predict(noisy, times, conditions)
    v = run.predict(noisy, times, conditions)
    loss, metrics = nft_loss(
        v,
        v_old,
        target,
        rollouts.optimality[items],
        beta=config.beta,
        adv_clip=config.adv_clip,
        sigma=generator.alpha_sigma(times)[1] if config.matching == "x0" else None,
        v_ref=v_ref,
        kl=config.kl,
    )
    return loss, {**metrics, **by_expert(generator, times, {"mse": error(v.detach(), target)})}
