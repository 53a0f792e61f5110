"""Fine-tune a generator on preference pairs: Diffusion-DPO and Flow-DPO, offline, with a LoRA adapter.

Needs the rollouts that `worldcritic sample` made and the pairs that `worldcritic mine` found among them; latents and
prompts are read from the rollouts, nothing is encoded again. The reference is the generator with its adapter off.
Writes <out>/best and <out>/last, which the stock diffusers pipeline loads with load_lora_weights, checkpoints, logs
and, with --judge_prompts, held-out samples and the hacking monitor's page. Exit code 3: the monitor stopped the run.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reward.config import config
from reward.preference_pairs import METADATA, PreferencePair, load_pairs
from rl.options import AboveZero, NotNegative, Options
from rl.starting import check_out, set_up, start, tell
from rl.store import HEADER

if TYPE_CHECKING:
    from torch import Tensor

    from rl.loop import Batch, Run
    from rl.stored import StoredPairs


@config
class Config(Options):
    """Options of `worldcritic dpo`."""

    rollouts: Path
    """Folder of rollouts, as `worldcritic sample` writes it."""
    pairs: Path
    """Folder of pairs, as `worldcritic mine` writes it."""
    beta: AboveZero = 500.0
    """How strongly the policy is held to the reference: the error is a mean over a clip, so that hundreds are usual."""
    labels: Literal["soft", "hard"] = "soft"
    """Learn the critic's probability that chosen is better, or that it is better for sure."""
    anchor: NotNegative = 0.0
    """Weight of the winner anchor, in units of beta: the winner's error must not rise above the reference's."""
    sft: NotNegative = 0.0
    """Weight of plain matching of the winner."""


def main(config: Config) -> int:
    """Train."""
    pairs = load_pairs(config.pairs)[: config.limit]
    check_out(config, "dpo")
    from rl.stored import StoredPairs, open_store

    store = open_store(config.rollouts)
    data = StoredPairs(store, pairs)
    inputs = {"pairs": config.pairs / METADATA, "rollouts": config.rollouts / HEADER}
    setup = set_up(config, "dpo", inputs, store=store)
    run = start(config, setup)
    for _ in run.steps():
        for batch in run.batches(len(pairs)):
            loss, metrics = dpo_step(config, run, batch, data)
            run.backward(loss, metrics, [_name(pairs[i]) for i in batch.items])
        run.update()
    return tell(config, run, f"{len(pairs)} pairs of {len({pair.prompt_id for pair in pairs})} prompts")


def dpo_step(
    config: Config, run: "Run", batch: "Batch", data: "StoredPairs"
) -> "tuple[Tensor, dict[str, Tensor | float]]":
    """Return loss and metrics of a batch: chosen and rejected of a pair at one noise level, under one noise."""
    import torch

    from rl.dpo_loss import dpo_loss, error
    from rl.experts import by_expert

    generator = run.generator
    chosen, rejected = data.latents(batch.items)
    clean = torch.cat([chosen, rejected]).to(generator.device)
    times, noise = (torch.cat([each, each]) for each in run.draw(batch, chosen.shape[1:]))
    noisy, target = generator.noisy(clean, noise, times), generator.target(clean, noise, times)
    conditions = data.conditions(batch.items) * 2
    with torch.no_grad(), generator.reference():
        reference = error(run.predict(noisy, times, conditions), target)
    mse = error(run.predict(noisy, times, conditions), target)
    (mse_w, mse_l), (ref_w, ref_l) = mse.chunk(2), reference.chunk(2)
    loss, metrics = dpo_loss(
        mse_w,
        mse_l,
        ref_w,
        ref_l,
        config.beta,
        p=data.probabilities(batch.items).to(mse) if config.labels == "soft" else None,
        anchor=config.anchor,
        sft=config.sft,
    )
    return loss, {**metrics, **by_expert(generator, times, {"mse": mse})}


def _name(pair: PreferencePair) -> str:
    return f"{pair.prompt_id} ({pair.chosen.video} over {pair.rejected.video})"
