"""The stages of training the tiny generator: each is done once, kept in the work folder, and read from there."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reward.files import write_json
from reward.progress import Progress
from toyworld.generator import sampling_defaults
from toyworld.generator_text import MAX_WORDS, build_text_encoder, build_tokenizer, train_reading
from toyworld.generator_training import LatentClips, build_transformer, train_transformer
from toyworld.repertoire import repertoire
from toyworld.train_generator import Config
from toyworld.vae_training import build_vae, to_video, train_vae, turn_to_principal_axes, videos
from toyworld.variations import examples

STAGES = ("text", "vae", "latents", "transformer")
LOG_EVERY = 50
SHIFT = 2.0
"""Of the sampler's noise levels towards more noise."""
LAST_LEVEL = 0.1
"""At which the sampler's last step begins; by itself it would be near zero, and the step wasted."""
MEASURED = 512
"""Clips over which the latents' mean and deviation are taken."""
ENCODED_AT_ONCE = 64


def build(config: Config) -> Any:
    """Return the trained pipeline; finished stages are read from the work folder."""
    tokenizer, encoder = text_stage(config)
    vae = vae_stage(config)
    data = latent_stage(config, vae, tokenizer, encoder)
    return assemble(tokenizer, encoder, vae, transformer_stage(config, data))


def assemble(tokenizer: Any, encoder: Any, vae: Any, transformer: Any) -> Any:
    """Return the parts as a stock WanPipeline."""
    from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=SHIFT, shift_terminal=LAST_LEVEL)
    pipeline = WanPipeline(tokenizer, encoder, vae, scheduler, transformer)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save(pipeline: Any, out: Path, half: bool) -> None:
    """Write the pipeline and, in sampling.json, how it is to be sampled.

    The text encoder stays in float32, because transformers would read it back in half.
    """
    if half:
        pipeline.vae.half()
        pipeline.transformer.half()
    pipeline.save_pretrained(out)
    write_json(out / "sampling.json", sampling_defaults())


class Log:
    """Counts a stage's steps on stderr and keeps the mean loss of every 50."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.started = progress, time.monotonic()
        self.losses: list[float] = []
        self.lines: list[dict[str, float]] = []

    def __call__(self, step: int, loss: float, *_: Any) -> None:
        """Take one step's loss."""
        self.losses.append(loss)
        self.progress.advance()
        if step % LOG_EVERY == 0:
            mean = sum(self.losses[-LOG_EVERY:]) / LOG_EVERY
            minutes = (time.monotonic() - self.started) / 60
            self.lines.append({"step": step, "minutes": round(minutes, 2), "loss": round(mean, 5)})
            print(f"{self.progress.what}: step {step}, loss {mean:.4f}", file=sys.stderr, flush=True)


def _keep(config: Config, stage: str, save: Callable[[Path], Any], log: Log | None) -> None:
    """Write a stage's log and then its folder, which appears whole."""
    lines = [] if log is None else log.lines
    write_json(config.work / f"{stage}.json", lines)
    partial = config.work / f".{stage}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save(partial)
    os.replace(partial, config.work / stage)


def text_stage(config: Config) -> tuple[Any, Any]:
    """Return the tokenizer and the frozen text encoder."""
    from transformers import AutoTokenizer, UMT5EncoderModel

    folder = config.work / "text"
    if not folder.exists():
        torch.manual_seed(config.seed)
        tokenizer = build_tokenizer()
        encoder = build_text_encoder(len(tokenizer))
        with Progress(config.text_steps, "text encoder") as progress:
            log = Log(progress)
            train_reading(tokenizer, encoder, repertoire(), config.text_steps, after_step=log)

        def save(path: Path) -> None:
            tokenizer.save_pretrained(path)
            encoder.save_pretrained(path)

        _keep(config, "text", save, log)
    encoder = UMT5EncoderModel.from_pretrained(folder).eval().requires_grad_(False)
    return AutoTokenizer.from_pretrained(folder), encoder


def vae_stage(config: Config) -> Any:
    """Return the trained autoencoder."""
    from diffusers import AutoencoderKLWan

    folder = config.work / "vae"
    if not folder.exists():
        torch.manual_seed(config.seed + 1)
        vae = build_vae()
        drawn = videos(config.seed, config.vae_batch)
        with Progress(config.vae_steps, "autoencoder") as progress:
            log = Log(progress)
            train_vae(vae, config.vae_steps, drawn, lr=config.vae_lr, noise=config.vae_noise, after_step=log)
        turn_to_principal_axes(vae, next(videos(config.seed + 1, MEASURED)), config.vae_noise)
        _keep(config, "vae", vae.save_pretrained, log)
    return AutoencoderKLWan.from_pretrained(folder).eval().requires_grad_(False)


@torch.no_grad()
def latent_stage(config: Config, vae: Any, tokenizer: Any, encoder: Any) -> LatentClips:
    """Return the encoded clips and prompts."""
    from safetensors.torch import load_file, save_file

    file = config.work / "latents" / "latents.safetensors"
    if not file.exists():
        index = {known.id: number for number, known in enumerate(repertoire())}
        drawn = examples(np.random.default_rng([config.seed, 2]), config.faithful)
        latents: list[Tensor] = []
        prompts: list[int] = []
        with Progress(config.clips, "encoding clips") as progress:
            while len(prompts) < config.clips:
                part = list(islice(drawn, min(ENCODED_AT_ONCE, config.clips - len(prompts))))
                latents.append(vae.encode(to_video(np.stack([each.frames for each in part]))).latent_dist.mode())
                prompts += [index[each.known.id] for each in part]
                progress.advance(len(part))
        tensors = {"latents": whiten(vae, torch.cat(latents)), "prompt": torch.tensor(prompts)}
        tensors["texts"] = embed(tokenizer, encoder, [known.text for known in repertoire()] + [""])
        _keep(config, "latents", lambda path: save_file(tensors, path / file.name), None)
    return LatentClips(**load_file(file))


def transformer_stage(config: Config, data: LatentClips) -> Any:
    """Return the trained video model."""
    from diffusers import WanTransformer3DModel

    folder = config.work / "transformer"
    if not folder.exists():
        torch.manual_seed(config.seed + 3)
        transformer = build_transformer(config.layers)
        with Progress(config.steps, "video model") as progress:
            log = Log(progress)
            settings: dict[str, Any] = {"batch": config.batch, "lr": config.lr, "seed": config.seed}
            train_transformer(transformer, data, config.steps, compiled=config.compile, after_step=log, **settings)
        _keep(config, "transformer", transformer.save_pretrained, log)
    return WanTransformer3DModel.from_pretrained(folder).eval()


def whiten(vae: Any, latents: Tensor) -> Tensor:
    """Return latents (B, C, T, H, W) as the pipeline's video model sees them: mean 0, deviation 1 per channel."""
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return (latents - mean) / std


def embed(tokenizer: Any, encoder: Any, texts: list[str]) -> Tensor:
    """Return the texts as the pipeline embeds them (N, MAX_WORDS, width): zeros after a prompt's own words."""
    from diffusers import WanPipeline

    pipeline = WanPipeline(tokenizer, encoder, None, None, None)
    embeddings, _ = pipeline.encode_prompt(texts, do_classifier_free_guidance=False, max_sequence_length=MAX_WORDS)
    return embeddings
